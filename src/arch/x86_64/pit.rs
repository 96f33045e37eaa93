//! The 8254 programmable interval timer.

use x86_64::instructions::port::Port;

use crate::time::calibrate::{self, Sample};

/// The counter's frequency: a twelfth of 14.31818 MHz.
pub const HZ: u64 = 1_193_182;

/// The longest count: 54.9 ms. (A count of 0 means 65,536, which is one more.)
pub(super) const LONGEST: u16 = u16::MAX;

const CHANNEL_0: u16 = 0x40;
const CHANNEL_2: u16 = 0x42;
const CONTROL: u16 = 0x43;
/// Bit 0 makes channel 2 count, bit 1 connects it to the speaker.
const SPEAKER: u16 = 0x61;

// Control words (8254 data sheet): channel in bits 7-6, access "low byte, then high byte" in 5-4,
// mode 0 "interrupt on terminal count" in 3-1.
const CHANNEL_0_ONE_SHOT: u8 = 0x30;
const CHANNEL_2_ONE_SHOT: u8 = 0xb0;
/// Latch the status and the count of channel 2, to be read in this order.
const READ_BACK_2: u8 = 0xc8;
/// In a status: the output is high, which in mode 0 means that the count has ended.
const OUTPUT_HIGH: u8 = 1 << 7;
/// Latch the status of channel 0.
const READ_BACK_STATUS_0: u8 = 0xe2;

fn write(port: u16, value: u8) {
    // SAFETY: the ports of this module belong to the 8254 and the speaker's gate, which do not
    // touch memory. Without an 8254 the write has no effect.
    unsafe { Port::new(port).write(value) }
}

fn read(port: u16) -> u8 {
    // SAFETY: as for `write`. Without an 8254 the value read is all ones.
    unsafe { Port::new(port).read() }
}

/// Whether there is a PIT: puts channel 0 into one-shot mode and reads the mode back.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::{arch::x86_64::pit, platform::bare::{self, Config, TimerSource}};
///
/// let mut config = Config::new();
/// if pit::is_present() {
///     config = config.timer(TimerSource::Pit);
/// }
/// // SAFETY: ring 0, one vCPU, interrupts masked, tables and pages as they must be; called once.
/// let machine = unsafe { bare::init(config) }?;
/// # assert!(!pit::is_present() || machine.timer == TimerSource::Pit);
/// # Ok::<(), bare::InitError>(())
/// ```
#[must_use]
pub fn is_present() -> bool {
    init();
    write(CONTROL, READ_BACK_STATUS_0);
    // But for the output and null-count flags, the status repeats the control word's low six bits.
    read(CHANNEL_0) & 0x3f == CHANNEL_0_ONE_SHOT & 0x3f
}

/// Puts channel 0 into one-shot mode. It does not count until [`set`] is called.
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

/// Makes channel 0 interrupt once, after `ticks` (at least 1). This replaces a count that has not
/// ended.
///
/// It takes two port writes: in mode 0 the low byte stops the counter and the high byte starts it
/// again.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::{
///     arch::x86_64::{halt::halt_if, pit},
///     platform::bare::{self, Config, TimerSource},
/// };
///
/// // SAFETY: ring 0, one vCPU, interrupts masked, tables and pages as they must be; called once.
/// if unsafe { bare::init(Config::new().timer(TimerSource::Pit)) }.is_err() {
///     return; // The VM has no PIT.
/// }
/// x86_64::instructions::interrupts::enable();
/// pit::set(1193); // a millisecond
/// let has_not_come = || bare::timer_interrupts() == 0;
/// while has_not_come() {
///     halt_if(has_not_come);
/// }
/// ```
pub fn set(ticks: u16) {
    let [low, high] = ticks.max(1).to_le_bytes();
    write(CHANNEL_0, low);
    write(CHANNEL_0, high);
}

/// Stops channel 0.
pub(super) fn off() {
    init();
}

/// The length of one measurement in ticks: about 10 ms.
const MEASURED_TICKS: u64 = 11_932;

/// Measures the frequency of `counter` against channel 2. Returns `None` if the PIT does not count.
///
/// # Safety
///
/// Interrupts are masked, and nothing else uses channel 2 or the speaker's port during the call.
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

/// Channel 2's count; `None` if it has ended, because the vCPU did not run for longer than it
/// lasts.
fn count_2() -> Option<u16> {
    write(CONTROL, READ_BACK_2);
    let status = read(CHANNEL_2);
    let low = read(CHANNEL_2);
    let count = u16::from_le_bytes([low, read(CHANNEL_2)]);
    (status & OUTPUT_HIGH == 0).then_some(count)
}
