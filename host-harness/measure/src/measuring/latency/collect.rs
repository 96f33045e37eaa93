//! Measures with one guest after the other.

use super::{
    plan::{Boot, PROGRAM},
    reading::{self, Reading},
};
use crate::{
    document::latency::Cell,
    measuring::{Failure, progress::Progress, run_guest},
};
use dormir_harness::{
    escape::escape,
    vmm::{Outcome, StopToken},
};
use std::path::Path;

/// The results of one guest after the other. If one fails, what was measured before it is kept.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) cells: Vec<Cell>,
    pub(crate) left_out: Vec<String>,
    pub(crate) broken: Option<Broken>,
}

/// Why no more was measured.
#[derive(Debug)]
pub(crate) enum Broken {
    Guest(Failure),
    Error(Box<dyn std::error::Error>),
}

impl Broken {
    pub(crate) fn was_stopped(&self) -> bool {
        matches!(self, Self::Guest(failure) if failure.outcome == Outcome::Stopped)
    }
}

impl Collected {
    /// Measures with one guest after the other.
    pub(crate) fn measure(boots: &[Boot], elf: &Path, stop: &StopToken) -> Self {
        let progress = Progress::of("measuring", boots.len());
        Self::of(boots, |boot| {
            progress.next(&boot.to_string());
            measure(boot, elf, stop)
        })
    }

    fn of(
        boots: &[Boot],
        mut measure: impl FnMut(&Boot) -> Result<Came, Box<dyn std::error::Error>>,
    ) -> Self {
        let mut collected = Self::default();
        for boot in boots {
            let broken = match measure(boot) {
                Ok(Came::Cells(found)) => {
                    collected.cells.extend(found.cells);
                    collected.left_out.extend(found.left_out);
                    continue;
                }
                Ok(Came::LeftOut(sentence)) => {
                    collected.left_out.push(sentence);
                    continue;
                }
                Ok(Came::Failed(failure)) => Broken::Guest(failure),
                Err(error) => Broken::Error(error),
            };
            collected.left_out.push(format!(
                "{boot} and all that was to follow are left out: it failed"
            ));
            collected.broken = Some(broken);
            break;
        }
        collected
    }
}

/// The result of one guest.
enum Came {
    Cells(Reading),
    /// The machine has no such timer: a sentence without its full stop.
    LeftOut(String),
    Failed(Failure),
}

fn measure(boot: &Boot, elf: &Path, stop: &StopToken) -> Result<Came, Box<dyn std::error::Error>> {
    match run_guest(PROGRAM, elf, boot.config(), stop)? {
        Ok(report) => {
            let found = reading::read(boot, &report)?;
            Ok(Came::Cells(found))
        }
        Err(failure) if boot.is_left_out(&failure.outcome) => Ok(Came::LeftOut(format!(
            "{boot} is left out: the guest printed `{}`",
            escape(String::from_utf8_lossy(&failure.console).trim())
        ))),
        Err(failure) => Ok(Came::Failed(failure)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::latency::made_up_cell;
    use crate::measuring::latency::plan::{Extent, boots};
    use dormir_harness::vmm::Vmm;

    /// Hours of measuring are not lost by the last guest.
    #[test]
    fn what_was_measured_before_a_guest_failed_is_kept() {
        let boots = boots(&Vmm::ALL, Extent::Usual);
        for breaks in [true, false] {
            let mut measured = 0;
            let collected = Collected::of(&boots, |_| {
                measured += 1;
                match measured {
                    1 => Ok(Came::Cells(Reading {
                        cells: vec![made_up_cell("dormir", &[5], &[("poll", 1)])],
                        left_out: vec!["there is no such path".into()],
                    })),
                    2 if breaks => Err("the report is not complete".into()),
                    2 => Ok(Came::Failed(Failure {
                        what: PROGRAM,
                        outcome: Outcome::Exited(7),
                        console: Vec::new(),
                    })),
                    _ => panic!("nothing is measured after a failure"),
                }
            });
            let failed = format!(
                "{} and all that was to follow are left out: it failed",
                boots[1]
            );
            assert_eq!(
                collected.left_out,
                ["there is no such path".to_owned(), failed]
            );
            assert_eq!(collected.cells.len(), 1);
            let broken = collected.broken.expect("it failed");
            assert!(!broken.was_stopped());
            match broken {
                Broken::Guest(failure) => {
                    assert_eq!((failure.outcome, breaks), (Outcome::Exited(7), false));
                }
                Broken::Error(error) => assert_eq!(error.to_string(), "the report is not complete"),
            }
        }
    }
}
