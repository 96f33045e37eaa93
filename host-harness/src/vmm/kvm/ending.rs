//! What a worker's end means for its guest.

use std::{process::ExitStatus, time::Duration};

use super::message::Ended;
use crate::{
    process::was_ended_at_a_filter,
    vmm::{attend::ChildEnd, error::RunError, outcome::Outcome},
};

/// What is known of a worker that has ended.
pub(super) struct WorkerEnd<'a> {
    /// The system call for which it was ended at its gate.
    pub(super) forbidden: Option<&'a str>,
    pub(super) status: ExitStatus,
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
        let forbidden = match self.forbidden {
            Some(call) => Some(format!("the system call `{call}`")),
            // Before it is ready no guest has run.
            None if self.was_ready && was_ended_at_a_filter(self.status) => {
                Some("a system call".into())
            }
            None => None,
        };
        if let Some(call) = forbidden {
            return Ok(Outcome::Died(format!(
                "the process of its VM was ended, since it asked for {call}, which it does not \
                 need: the guest may have broken out of its VM, so keep its file"
            )));
        }
        let ended = self.ended.map(Ended::outcome);
        match (end, ended) {
            (ChildEnd::Cut(Outcome::TimedOut { limit, .. }), Some(Err(place))) => {
                Ok(Outcome::TimedOut { limit, place })
            }
            (ChildEnd::Cut(outcome), _) => Ok(outcome),
            (ChildEnd::Late(limit), None) => Ok(Outcome::TimedOut { limit, place: None }),
            // If it is late: the guest has ended in time, and its devices have taken until now.
            (_, Some(ended)) => {
                Ok(ended.unwrap_or_else(|place| Outcome::TimedOut { limit, place }))
            }
            (_, None) => {
                if let Some(message) = self.refused {
                    return Err(RunError::VmProcess { message });
                }
                let (status, words) = (self.status, self.words);
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

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(3);

    fn worker(ended: Option<Ended>, was_ready: bool) -> WorkerEnd<'static> {
        WorkerEnd {
            forbidden: None,
            status: ExitStatus::default(),
            words: "without a message".into(),
            was_ready,
            refused: None,
            ended,
        }
    }

    fn late(place: Option<&str>) -> Outcome {
        Outcome::TimedOut {
            limit: LIMIT,
            place: place.map(str::to_owned),
        }
    }

    #[test]
    fn its_word_counts_at_the_limit_if_all_output_was_read() {
        let cut = || ChildEnd::Cut(late(None));
        let ended = |end, ended| worker(Some(ended), true).outcome(end, LIMIT).unwrap();
        let here = || Ended::OutOfTime(Some("here".into()));
        assert_eq!(
            ended(ChildEnd::Late(LIMIT), Ended::Exited(0)),
            Outcome::Exited(0)
        );
        assert_eq!(ended(cut(), Ended::Exited(0)), late(None));
        for end in [cut(), ChildEnd::Late(LIMIT), ChildEnd::ByItself] {
            assert_eq!(ended(end, here()), late(Some("here")));
        }
        let stopped = ChildEnd::Cut(Outcome::Stopped);
        assert_eq!(ended(stopped, Ended::Exited(0)), Outcome::Stopped);
        for end in [cut(), ChildEnd::Late(LIMIT)] {
            assert_eq!(worker(None, true).outcome(end, LIMIT).unwrap(), late(None));
        }
    }

    /// Also if the run is cut, or the process has told of a good end before.
    #[test]
    fn one_that_the_kernel_ended_at_a_filter_has_broken_out() {
        let outcome = |ended, was_ready, end| {
            let mut ended = worker(ended, was_ready);
            ended.status = ExitStatus::from_raw(libc::SIGSYS);
            ended.outcome(end, LIMIT)
        };
        let is_told = |outcome: &Result<Outcome, RunError>| {
            let reason = outcome.as_ref().map(Outcome::to_string);
            reason.is_ok_and(|reason| reason.contains("asked for a system call,"))
        };
        for end in [ChildEnd::ByItself, ChildEnd::Cut(late(None))] {
            let outcome = outcome(Some(Ended::Exited(0)), true, end);
            assert!(is_told(&outcome), "{outcome:?}");
        }
        // No guest has run.
        let outcome = outcome(None, false, ChildEnd::ByItself);
        assert!(outcome.is_err(), "{outcome:?}");
    }

    #[test]
    fn one_that_says_nothing_has_died_or_has_not_begun() {
        let died = worker(None, true).outcome(ChildEnd::ByItself, LIMIT);
        assert!(matches!(died, Ok(Outcome::Died(_))), "{died:?}");
        let unready = worker(None, false).outcome(ChildEnd::ByItself, LIMIT);
        assert!(unready.unwrap_err().to_string().contains("before it ran"));
        let mut refused = worker(None, false);
        refused.refused = Some("no KVM".into());
        let refused = refused.outcome(ChildEnd::ByItself, LIMIT);
        assert_eq!(refused.unwrap_err().to_string(), "no KVM");
        let mut broken_out = worker(Some(Ended::Exited(0)), true);
        broken_out.forbidden = Some("socket");
        let broken_out = broken_out.outcome(ChildEnd::ByItself, LIMIT);
        assert!(matches!(broken_out, Ok(Outcome::Died(_))), "{broken_out:?}");
    }
}
