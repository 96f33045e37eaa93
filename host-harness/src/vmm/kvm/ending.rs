//! What a worker's end means for its guest.

use std::{process::ExitStatus, time::Duration};

use super::message::Ended;
use crate::vmm::{attend::ChildEnd, error::RunError, outcome::Outcome};

/// What is known of a worker that has ended.
pub(super) struct WorkerEnd<'a> {
    /// The system call for which it was ended at its gate.
    pub(super) forbidden: Option<&'a str>,
    /// `None` if it was killed from here.
    pub(super) status: Option<ExitStatus>,
    /// What it said on standard error, to be put in brackets.
    pub(super) words: String,
    pub(super) was_ready: bool,
    /// Why there was no machine.
    pub(super) refused: Option<String>,
    /// How the guest ended, by its word.
    pub(super) ended: Option<Ended>,
}

impl WorkerEnd<'_> {
    /// Returns how the guest ended, whose time limit is this.
    ///
    /// # Errors
    ///
    /// It has not run.
    pub(super) fn outcome(self, end: ChildEnd, limit: Duration) -> Result<Outcome, RunError> {
        if let Some(call) = self.forbidden {
            return Ok(Outcome::Died(format!(
                "the process of its VM was ended, since it asked for the system call `{call}`, \
                 which it does not need: the guest may have broken out of its VM, so keep its file"
            )));
        }
        let ended = self.ended.map(Ended::outcome);
        match (end, ended) {
            // It may have ended in time, and its devices take until now.
            (ChildEnd::Cut(outcome), None) => Ok(outcome),
            (ChildEnd::Cut(outcome), Some(_)) if !matches!(outcome, Outcome::TimedOut { .. }) => {
                Ok(outcome)
            }
            (_, Some(ended)) => {
                Ok(ended.unwrap_or_else(|place| Outcome::TimedOut { limit, place }))
            }
            (_, None) => {
                if let Some(message) = self.refused {
                    return Err(RunError::VmProcess { message });
                }
                let status = self
                    .status
                    .map_or("killed".into(), |status| status.to_string());
                let words = self.words;
                if self.was_ready {
                    return Ok(Outcome::Died(format!(
                        "its process ended ({status}, {words}): see whether the system ran out of \
                         memory, or what killed it"
                    )));
                }
                Err(RunError::VmProcess {
                    message: format!(
                        "the process of the VM ended before it ran the guest ({status}, {words}): \
                         it is this program, started once more, which must be an executable that \
                         has `dormir-harness` linked into it"
                    ),
                })
            }
        }
    }
}
