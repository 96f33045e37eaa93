//! Measures the TSC's frequency.

use std::{
    arch::x86_64::_rdtsc,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

/// The duration of the measurement: a guest's clock is then a few parts in a million fast or slow,
/// and only until the host's next reply.
const WINDOW: Duration = Duration::from_millis(20);

/// How often both clocks are read at either end. The closest pair counts, since the thread may be
/// descheduled in between.
const TRIES: usize = 16;

/// Returns the TSC's frequency in Hz, which is measured at the first call.
///
/// CPUID may report it too, but inside a VM that value is the hypervisor's choice.
pub(crate) fn hz() -> u64 {
    static HZ: OnceLock<u64> = OnceLock::new();
    *HZ.get_or_init(|| {
        let start = read_both();
        thread::sleep(WINDOW);
        let end = read_both();
        frequency(end.0.wrapping_sub(start.0), end.1 - start.1)
    })
}

fn frequency(ticks: u64, time: Duration) -> u64 {
    let hz = u128::from(ticks) * 1_000_000_000 / time.as_nanos().max(1);
    u64::try_from(hz).unwrap_or(u64::MAX).max(1)
}

/// Reads the TSC and the system's clock as close together as possible.
fn read_both() -> (u64, Instant) {
    let pair = || {
        let before = tsc();
        let now = Instant::now();
        let spread = tsc().saturating_sub(before);
        (spread, before + spread / 2, now)
    };
    let (_, tsc, now) = (0..TRIES)
        .map(|_| pair())
        .min_by_key(|(spread, ..)| *spread)
        .expect("there is more than one try");
    (tsc, now)
}

fn tsc() -> u64 {
    // SAFETY: every x86-64 processor has RDTSC, and Linux allows programs to execute it.
    unsafe { _rdtsc() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frequency_is_ticks_by_time() {
        assert_eq!(
            frequency(60_000_000, Duration::from_millis(20)),
            3_000_000_000
        );
        assert_eq!(frequency(0, Duration::ZERO), 1);
        assert_eq!(frequency(u64::MAX, Duration::from_nanos(1)), u64::MAX);
    }

    #[test]
    fn it_is_measured_once_and_plausible() {
        let hz = hz();
        assert!((100_000_000..20_000_000_000).contains(&hz), "{hz}");
        assert_eq!(super::hz(), hz);
    }
}
