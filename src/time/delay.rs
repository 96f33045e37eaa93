//! A busy wait, for drivers.

use core::time::Duration;

use embedded_hal::delay::DelayNs;

use super::Instant;

/// Waits by reading the clock until the time has passed: the vCPU does not rest, and no task runs
/// meanwhile. For the short pauses of device drivers that take an `embedded_hal` delay. (With the host's virtual clock, which stands still
/// meanwhile, it would never end.)
///
/// ```no_run
/// use embedded_hal::delay::DelayNs;
/// dormir::time::Delay.delay_us(10);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Delay;

impl DelayNs for Delay {
    /// # Panics
    ///
    /// If no clock is installed.
    fn delay_ns(&mut self, ns: u32) {
        let end = Instant::now().saturating_add(Duration::from_nanos(u64::from(ns)));
        while Instant::now() < end {
            core::hint::spin_loop();
        }
    }
}
