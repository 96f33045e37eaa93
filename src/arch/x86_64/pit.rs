//! The 8254 programmable interval timer.

use x86_64::instructions::port::Port;

use crate::time::calibrate::{self, Sample};

/// The counter's frequency: a twelfth of 14.31818 MHz.
pub const HZ: u64 = 1_193_182;

/// The longest count: 54.9 ms. (0 would mean 65,536, one more.)
pub const LONGEST: u16 = u16::MAX;

const CHANNEL_0: u16 = 0x40;
const CHANNEL_2: u16 = 0x42;
const CONTROL: u16 = 0x43;
/// Bit 0 gates channel 2, bit 1 lets it through to the speaker.
const SPEAKER: u16 = 0x61;

// Control words (8254 data sheet): channel in bits 7-6, access "low byte, then high byte" in 5-4,
// mode 0 "interrupt on terminal count" in 3-1.
const CHANNEL_0_ONE_SHOT: u8 = 0x30;
const CHANNEL_2_ONE_SHOT: u8 = 0xb0;
/// Read back channel 2: its status, then its count.
const READ_BACK_2: u8 = 0xc8;
/// In a status: the output is high, which in mode 0 means that the count has run out.
const OUTPUT_HIGH: u8 = 1 << 7;
const READ_BACK_STATUS_0: u8 = 0xe2;

fn write(port: u16, value: u8) {
    // SAFETY: the ports of this module belong to the 8254 and the speaker's gate, which do not touch
    // memory; where there is none, the write goes nowhere.
    unsafe { Port::new(port).write(value) }
}

fn read(port: u16) -> u8 {
    // SAFETY: as for `write`; where there is no 8254, all ones are read.
    unsafe { Port::new(port).read() }
}

/// Whether there is a PIT: puts channel 0 into one-shot mode and asks whether it is.
#[must_use]
pub fn is_present() -> bool {
    init();
    write(CONTROL, READ_BACK_STATUS_0);
    // Output and null-count flags aside, the status repeats the control word's low six bits.
    read(CHANNEL_0) & 0x3f == CHANNEL_0_ONE_SHOT & 0x3f
}

/// Puts channel 0 into one-shot mode; it does not count until [`set`].
pub fn init() {
    write(CONTROL, CHANNEL_0_ONE_SHOT);
}

/// Counts `ticks` (at least 1) down, then interrupts once. A count under way is replaced.
///
/// Two port writes: in mode 0 the low byte stops the counter and the high byte starts it anew.
pub fn set(ticks: u16) {
    let [low, high] = ticks.max(1).to_le_bytes();
    write(CHANNEL_0, low);
    write(CHANNEL_0, high);
}

/// Stops channel 0.
pub fn off() {
    init();
}

/// How long one measurement lasts, in ticks: about 10 ms.
const MEASURED_TICKS: u64 = 11_932;

/// Measures the frequency of `counter` against channel 2; `None` if the PIT does not count.
///
/// # Safety
///
/// Interrupts must be masked, and nothing else may use channel 2 or the speaker's port meanwhile.
#[must_use]
pub unsafe fn measure_hz(counter: impl Fn() -> u64) -> Option<u64> {
    calibrate::frequency(HZ, MEASURED_TICKS, || {
        write(SPEAKER, (read(SPEAKER) & !0b10) | 0b01);
        write(CONTROL, CHANNEL_2_ONE_SHOT);
        write(CHANNEL_2, 0xff);
        write(CHANNEL_2, 0xff);
        || {
            let known = u64::from(u16::MAX - count_2()?);
            Some(Sample {
                known,
                unknown: counter(),
            })
        }
    })
}

/// Channel 2's count; `None` if it has run out: the vCPU was away for longer than the count lasts.
fn count_2() -> Option<u16> {
    write(CONTROL, READ_BACK_2);
    let status = read(CHANNEL_2);
    let low = read(CHANNEL_2);
    let count = u16::from_le_bytes([low, read(CHANNEL_2)]);
    (status & OUTPUT_HIGH == 0).then_some(count)
}
