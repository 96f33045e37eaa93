//! [`Config`].

use super::TimerSource;

/// The options of [`init`](fn@super::init). By default it finds out everything itself.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::platform::bare::{self, Config, TimerSource};
///
/// let config = Config::new().timer(TimerSource::Xapic);
/// // SAFETY: ring 0, one vCPU, interrupts masked, tables and pages as they must be; called once.
/// let machine = unsafe { bare::init(config) }?;
/// assert_eq!(machine.timer, TimerSource::Xapic);
/// # Ok::<(), bare::InitError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The timer to use; `None` takes the best that is present.
    pub timer: Option<TimerSource>,
    /// The TSC's frequency in Hz, from 1 MHz to 100 GHz, for a clock by the TSC alone. With `None`,
    /// [`init`](fn@super::init) finds the frequency, and takes KVM's paravirtual clock if there is
    /// one.
    pub tsc_hz: Option<u64>,
}

impl Config {
    /// The default options.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            timer: None,
            tsc_hz: None,
        }
    }

    /// Sets the timer to use.
    #[must_use]
    pub const fn timer(mut self, timer: TimerSource) -> Self {
        self.timer = Some(timer);
        self
    }

    /// Sets the TSC's frequency in Hz.
    #[must_use]
    pub const fn tsc_hz(mut self, hz: u64) -> Self {
        self.tsc_hz = Some(hz);
        self
    }
}
