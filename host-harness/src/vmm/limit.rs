//! When a run must end: its time limit and its stop token apply from the very start.

use std::time::{Duration, Instant};

use super::{
    config::RunConfig,
    device::{DeviceError, NetError},
    error::RunError,
    outcome::Outcome,
};

/// How long a guest may take, at its time limit, to report what it was doing. A guest that is not
/// optimised takes one or two seconds where KVM emulates its instructions, all others a few
/// milliseconds.
pub(super) const REPORT_LIMIT: Duration = Duration::from_secs(5);

/// How long a guest may take to report that: none, if it has no handler that reports anything.
pub(super) fn report_limit(has_report: bool) -> Duration {
    match has_report {
        true => REPORT_LIMIT,
        false => Duration::ZERO,
    }
}

/// The time limit and the stop token of a run.
pub(super) struct Limit<'a> {
    started: Instant,
    config: &'a RunConfig,
}

/// Why no guest has run.
#[derive(Debug)]
pub(super) enum Unstarted {
    /// It could not be started.
    Refused(RunError),
    /// The run had to end before the guest started.
    Cut(Outcome),
}

impl From<RunError> for Unstarted {
    fn from(error: RunError) -> Self {
        Self::Refused(error)
    }
}

impl From<NetError> for Unstarted {
    fn from(error: NetError) -> Self {
        Self::Refused(RunError::Device(DeviceError::Net(error)))
    }
}

impl<'a> Limit<'a> {
    /// Makes the limit of a run that begins now.
    pub(super) fn new(config: &'a RunConfig) -> Self {
        Self {
            started: Instant::now(),
            config,
        }
    }

    /// Returns the deadline; `None` if it is beyond the clock's range.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.started.checked_add(self.config.timeout)
    }

    /// Checks both. Must be called repeatedly during long work before the guest runs.
    pub(super) fn check(&self) -> Result<(), Unstarted> {
        if self.config.stop.is_stopped() {
            return Err(Unstarted::Cut(Outcome::Stopped));
        }
        if self.started.elapsed() >= self.config.timeout {
            return Err(Unstarted::Cut(Outcome::TimedOut {
                limit: self.config.timeout,
                place: None,
            }));
        }
        Ok(())
    }
}
