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
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::{arch::x86_64::pit, platform::bare::{self, Config, TimerSource}};
///
/// let timer = pit::is_present().then_some(TimerSource::Pit);
/// let config = Config { timer, ..Config::default() };
/// // SAFETY: ring 0, one vCPU, interrupts masked, tables and pages as they must be; called once.
/// let machine = unsafe { bare::init(config) }?;
/// # assert!(timer.is_none_or(|timer| timer == machine.timer));
/// # Ok::<(), bare::InitError>(())
/// ```
#[must_use]
pub fn is_present() -> bool {
    init();
    write(CONTROL, READ_BACK_STATUS_0);
    // Output and null-count flags aside, the status repeats the control word's low six bits.
    read(CHANNEL_0) & 0x3f == CHANNEL_0_ONE_SHOT & 0x3f
}

/// Puts channel 0 into one-shot mode; it does not count until [`set`].
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::arch::x86_64::{pic, pit};
///
/// pic::init();
/// pit::init();
/// // Once there is a handler on `vector::PIT`:
/// pic::unmask(0);
/// pit::set(u16::try_from(pit::HZ / 100)?); // 10 ms
/// # Ok::<(), core::num::TryFromIntError>(())
/// ```
pub fn init() {
    write(CONTROL, CHANNEL_0_ONE_SHOT);
}

/// Counts `ticks` (at least 1) down, then interrupts once. A count under way is replaced.
///
/// Two port writes: in mode 0 the low byte stops the counter and the high byte starts it anew.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// # use dormir::platform::bare;
/// # // SAFETY: ring 0, one vCPU, interrupts masked, tables and pages as they must be; called once.
/// # let pit = unsafe { bare::init(bare::Config {
/// #     timer: Some(bare::TimerSource::Pit), ..bare::Config::default()
/// # }) };
/// # // The VM has no PIT.
/// # if pit.is_err() { return; }
/// # x86_64::instructions::interrupts::enable();
/// use dormir::arch::x86_64::{halt::halt_if, pit};
///
/// pit::set(1193); // a millisecond
/// let nothing_came = || bare::timer_interrupts() == 0;
/// while nothing_came() {
///     halt_if(nothing_came);
/// }
/// ```
pub fn set(ticks: u16) {
    let [low, high] = ticks.max(1).to_le_bytes();
    write(CHANNEL_0, low);
    write(CHANNEL_0, high);
}

/// Stops channel 0.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::arch::x86_64::pit;
///
/// pit::init();
/// pit::set(pit::LONGEST);
/// // Within 54.9 ms nobody waits any more.
/// pit::off();
/// ```
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
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::arch::x86_64::{pit, tsc};
///
/// // SAFETY: interrupts are masked, and nothing else uses channel 2.
/// match unsafe { pit::measure_hz(tsc::read) } {
///     Some(hz) => dormir_guest::println!("the TSC runs at {} MHz", hz / 1_000_000),
///     None => dormir_guest::println!("no PIT counts here"),
/// }
/// ```
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
