//! Delays for drivers: `embedded_hal`'s and `embedded_hal_async`'s `DelayNs`.

use core::time::Duration;

#[cfg(feature = "embedded-hal")]
use super::Instant;
#[cfg(feature = "embedded-hal-async")]
use super::Timer;

/// A delay for drivers that take one of `embedded_hal` or `embedded_hal_async`. Each delay lasts at
/// least as long as requested, by the clock of the global queue, and is one wait, whatever the
/// unit.
///
/// - `embedded_hal::delay::DelayNs` (feature `embedded-hal`) is a busy wait: it reads the clock
///   until the time has passed. The vCPU does not halt, and no task runs meanwhile. For short
///   delays in drivers that are not async. (With the host's virtual clock, which stands still
///   meanwhile, it would never end.)
/// - `embedded_hal_async::delay::DelayNs` (feature `embedded-hal-async`) is a
///   [`Timer`](super::Timer): other tasks run meanwhile, or the vCPU halts. It counts from the
///   first poll, and is as cancel safe as a timer.
///
/// The methods of both traits have the same names. If both are in scope, name the trait:
/// `embedded_hal::delay::DelayNs::delay_us(&mut Delay, 10)`.
///
/// # Contexts
///
/// The busy wait may be used in any context, the timer in any but NMI and machine-check handlers.
///
/// # Panics
///
/// A delay panics if no clock is installed.
///
/// # Examples
///
/// ```
/// # #[cfg(all(target_os = "none", feature = "embedded-hal"))] {
/// # dormir_guest::entry!(main);
/// use dormir::time::Delay;
/// use embedded_hal::delay::DelayNs;
///
/// # let start = dormir::time::Instant::now();
/// Delay.delay_us(10);
/// # assert!(dormir::time::Instant::now().as_nanos() >= start.as_nanos() + 10_000);
/// # }
/// ```
///
/// In a task, with the feature `embedded-hal-async`:
///
/// ```
/// # #[cfg(target_os = "none")] dormir_guest::entry!(main);
/// # #[cfg(all(not(target_os = "none"), feature = "embedded-hal-async"))] {
/// use dormir::{block_on, time::Delay};
/// use dormir::platform::host::{self, Skip};
/// use embedded_hal_async::delay::DelayNs;
///
/// /// Part of a driver.
/// async fn start_sensor(delay: &mut impl DelayNs) {
///     // Power it on, then:
///     delay.delay_ms(20).await;
/// }
///
/// host::init(); // A virtual clock, for the host. A guest waits by `idle::Halt`.
/// block_on(start_sensor(&mut Delay), Skip);
/// # assert_eq!(dormir::time::Instant::now().as_nanos(), 20_000_000);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Delay;

#[cfg(feature = "embedded-hal")]
impl embedded_hal::delay::DelayNs for Delay {
    fn delay_ns(&mut self, ns: u32) {
        busy_wait(Instant::now, Duration::from_nanos(ns.into()));
    }

    // The trait's default methods add up shorter delays, each of which would be late.
    fn delay_us(&mut self, us: u32) {
        busy_wait(Instant::now, Duration::from_micros(us.into()));
    }

    fn delay_ms(&mut self, ms: u32) {
        busy_wait(Instant::now, Duration::from_millis(ms.into()));
    }
}

/// Reads the clock until the time has passed.
#[cfg(feature = "embedded-hal")]
fn busy_wait(now: impl Fn() -> Instant, duration: Duration) {
    let end = now().saturating_add(duration);
    while now() < end {
        core::hint::spin_loop();
    }
}

#[cfg(feature = "embedded-hal-async")]
impl embedded_hal_async::delay::DelayNs for Delay {
    async fn delay_ns(&mut self, ns: u32) {
        Timer::after(Duration::from_nanos(ns.into())).await;
    }

    // The trait's default methods add up shorter delays, with an interrupt for each.
    async fn delay_us(&mut self, us: u32) {
        Timer::after(Duration::from_micros(us.into())).await;
    }

    async fn delay_ms(&mut self, ms: u32) {
        Timer::after(Duration::from_millis(ms.into())).await;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[cfg(feature = "embedded-hal")]
    #[test]
    fn a_busy_wait_ends_at_its_time_and_not_before() {
        for (start, nanos, end) in [
            (5, 0, 6),
            (5, 1, 6),
            (5, 30, 35),
            (u64::MAX - 9, 8, u64::MAX - 1),
        ] {
            // Each read of the clock takes a nanosecond.
            let looks = core::cell::Cell::new(0);
            let now = || {
                looks.set(looks.get() + 1);
                Instant::from_nanos(start + looks.get() - 1)
            };
            busy_wait(now, Duration::from_nanos(nanos));
            assert_eq!(start + looks.get() - 1, end, "{nanos} ns from {start}");
        }
    }

    #[cfg(feature = "embedded-hal")]
    #[test]
    fn a_blocking_delay_takes_as_long_as_requested() {
        use crate::{
            platform::host::VirtualClock,
            test_support::{alone, leak},
            time::{Clock, TimerQueue},
        };
        use core::sync::atomic::{AtomicU64, Ordering};
        use embedded_hal::delay::DelayNs;

        /// Each read takes half a microsecond.
        struct Walking(AtomicU64);

        impl Clock for Walking {
            fn now(&self) -> Instant {
                Instant::from_nanos(self.0.fetch_add(500, Ordering::Relaxed))
            }
        }

        alone(|| {
            let (clock, alarm) = (leak(Walking(AtomicU64::new(0))), leak(VirtualClock::new()));
            TimerQueue::global().install(clock, alarm).unwrap();
            let took = |delay: fn(u32), number| {
                let start = clock.0.load(Ordering::Relaxed);
                delay(number);
                // The last read found that the time has passed.
                clock.0.load(Ordering::Relaxed) - 500 - start
            };
            assert_eq!(took(|ns| Delay.delay_ns(ns), 2000), 2000);
            assert_eq!(took(|us| Delay.delay_us(us), 30), 30_000);
            assert_eq!(took(|ms| Delay.delay_ms(ms), 4), 4_000_000);
        });
    }

    /// Also with the longest argument.
    #[cfg(feature = "embedded-hal-async")]
    #[test]
    fn an_async_delay_takes_as_long_as_requested() {
        use crate::{block_on, platform::host, test_support::alone, time::Instant};
        use embedded_hal_async::delay::DelayNs;

        alone(|| {
            host::init();
            block_on(
                async {
                    let start = Instant::now();
                    Delay.delay_ms(u32::MAX).await;
                    let longest = u64::from(u32::MAX);
                    assert_eq!(start.elapsed(), Duration::from_millis(longest));
                    Delay.delay_us(u32::MAX).await;
                    Delay.delay_ns(7).await;
                    let total = longest * 1_001_000 + 7;
                    assert_eq!(start.elapsed(), Duration::from_nanos(total));
                },
                host::Skip,
            );
        });
    }
}
