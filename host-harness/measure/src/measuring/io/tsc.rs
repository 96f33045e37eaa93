//! How fast the time-stamp counter counts that Linux reads under QEMU's translator.

use std::{
    arch::x86_64::_rdtsc,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

/// How far apart the readings are.
const SPAN: Duration = Duration::from_millis(100);

/// Clock and counter are read together if no more than this lies between two readings of the clock.
const TOGETHER: Duration = Duration::from_micros(2);

/// How often that is tried.
const TRIES: usize = 10_000;

/// Where QEMU counts instructions, each is a nanosecond and a tick.
const COUNTED_KHZ: u64 = 1_000_000;

/// What Linux is told of its counter. It would find out by the PIT, in its first milliseconds,
/// which fails where the host is busy; microvm has nothing else, and Linux hangs. Later a watchdog
/// would take the counter for broken if the guest's thread had to wait, and choose a clock that is
/// read from a device. So this is the best that Linux can have.
pub(super) fn words_for_linux(counts: bool) -> String {
    let khz = if counts { COUNTED_KHZ } else { host_khz() };
    format!("tsc=reliable tsc_early_khz={khz}")
}

/// The host's counter, which QEMU passes on.
fn host_khz() -> u64 {
    static KHZ: OnceLock<u64> = OnceLock::new();
    *KHZ.get_or_init(|| {
        let (start, first) = read();
        thread::sleep(SPAN);
        let (end, last) = read();
        let nanos = (end - start).as_nanos().max(1);
        (u128::from(last.wrapping_sub(first)) * 1_000_000 / nanos) as u64
    })
}

/// Reads clock and counter together.
fn read() -> (Instant, u64) {
    let once = || {
        let before = Instant::now();
        // SAFETY: every x86-64 processor has the instruction; it reads a counter.
        let counter = unsafe { _rdtsc() };
        (before.elapsed(), before, counter)
    };
    let tries = (0..TRIES).map(|_| once());
    let mut best = once();
    for reading in tries {
        if best.0 <= TOGETHER {
            break;
        }
        if reading.0 < best.0 {
            best = reading;
        }
    }
    (best.1, best.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_measurements_agree() {
        let (start, first) = read();
        thread::sleep(SPAN);
        let (end, last) = read();
        let hz = (last - first) as f64 / (end - start).as_secs_f64();
        let khz = host_khz() as f64;
        assert!(
            (hz / 1000.0 / khz - 1.0).abs() < 0.001,
            "{hz} Hz, {khz} kHz"
        );
        let words = words_for_linux(true);
        assert_eq!(words, "tsc=reliable tsc_early_khz=1000000");
    }
}
