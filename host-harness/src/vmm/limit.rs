//! When a run has to end: its time limit and its stop token hold from its first moment on.

use std::time::Instant;

use super::{Outcome, RunConfig, RunError};

/// The time limit and the stop token of a run.
pub(super) struct Limit<'a> {
    started: Instant,
    config: &'a RunConfig,
}

/// Why no guest has run.
#[derive(Debug)]
pub(super) enum Unstarted {
    /// It could not.
    Refused(RunError),
    /// The run had to end before.
    Cut(Outcome),
}

impl From<RunError> for Unstarted {
    fn from(error: RunError) -> Self {
        Self::Refused(error)
    }
}

impl<'a> Limit<'a> {
    /// Of a run that begins now.
    pub(super) fn new(config: &'a RunConfig) -> Self {
        Self {
            started: Instant::now(),
            config,
        }
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// `None` if it is further away than the clock goes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.started.checked_add(self.config.timeout)
    }

    /// To be asked while something takes long that is done for a guest before it runs.
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
