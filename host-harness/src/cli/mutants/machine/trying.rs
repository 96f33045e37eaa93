//! Tries faults, and believes a test only if it passes without them.

use super::{
    super::{super::note, found::Fate, mutant::Mutant},
    fault::{Fault, LIST},
    trials::{BUILD_LIMIT, LIMIT, Ran},
};
use std::{collections::BTreeMap, error::Error, time::Duration};

/// How many lines of tests are shown that fail without a fault.
const SHOWN: usize = 40;

/// What is known of faults that were tried.
#[derive(Debug)]
pub(super) struct Tried {
    /// By the mutants' names.
    pub(super) fates: BTreeMap<String, Fate>,
    /// Why nothing is known of others.
    pub(super) complaints: Vec<String>,
    /// Why it ended before the last, if it did.
    pub(super) end: Result<(), Box<dyn Error>>,
}

/// Tries faults by `run`, which runs the tests of a name with a fault or without one, for a time.
///
/// The faults of each test come one after another, and then the test without one, with the same
/// limit and as much to build: so nothing that makes each test fail, or late, passes for a test
/// that notices. The first run builds what all need, and has more time.
pub(super) fn run(
    due: &[(&Fault, &Mutant)],
    is_over: impl Fn() -> bool,
    mut run: impl FnMut(Option<&Fault>, &str, Duration) -> Result<(Ran, String), Box<dyn Error>>,
) -> Tried {
    let mut tried = Tried {
        fates: BTreeMap::new(),
        complaints: Vec::new(),
        end: Ok(()),
    };
    let mut tests = BTreeMap::<&str, Vec<_>>::new();
    for (fault, mutant) in due {
        tests
            .entry(&fault.test)
            .or_default()
            .push((*fault, *mutant));
    }
    let mut is_first = true;
    for (test, faults) in tests {
        if is_over() {
            break;
        }
        let end = tried.by_test(test, &faults, is_first, &is_over, &mut run);
        if end.is_err() {
            tried.end = end;
            break;
        }
        is_first = false;
    }
    tried
}

impl Tried {
    fn by_test(
        &mut self,
        test: &str,
        faults: &[(&Fault, &Mutant)],
        is_first: bool,
        is_over: impl Fn() -> bool,
        mut run: impl FnMut(Option<&Fault>, &str, Duration) -> Result<(Ran, String), Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        if is_first && !self.passes(test, run(None, test, BUILD_LIMIT)?) {
            return Ok(());
        }
        let (mut fates, mut complaints) = (BTreeMap::new(), Vec::new());
        for (fault, mutant) in faults {
            if is_over() {
                break;
            }
            let (ran, output) = run(Some(fault), test, LIMIT)?;
            let name = mutant.name();
            note(format_args!("{}: {name}", described(ran)));
            let fate = match ran {
                Ran::Passed => Fate::Survived,
                Ran::Failed => Fate::Caught,
                Ran::NotEnded => Fate::Hung,
                Ran::NotBuilt => Fate::Unviable,
                Ran::None => {
                    show_end(&output);
                    complaints.push(format!(
                        "{name}: with it, `{test}` runs no test to its end, so nothing is known: \
                         see its output, above"
                    ));
                    continue;
                }
            };
            fates.insert(name, fate);
        }
        if self.passes(test, run(None, test, LIMIT)?) {
            self.fates.extend(fates);
            self.complaints.extend(complaints);
        }
        Ok(())
    }

    /// Whether a test has passed without a fault; else nothing is known by it.
    fn passes(&mut self, test: &str, (ran, output): (Ran, String)) -> bool {
        if ran == Ran::Passed {
            note(format_args!("passes without a fault: {test}"));
            return true;
        }
        show_end(&output);
        self.complaints.push(format!(
            "`{test}` does not pass without a fault, so nothing is known by it: run `cargo test \
             --test vm -- {test}`, and see {LIST}"
        ));
        false
    }
}

fn show_end(output: &str) {
    let lines: Vec<&str> = output.lines().collect();
    for line in &lines[lines.len().saturating_sub(SHOWN)..] {
        note(format_args!("  {line}"));
    }
}

fn described(ran: Ran) -> &'static str {
    match ran {
        Ran::Passed => "SURVIVED",
        Ran::Failed => "caught",
        Ran::NotEnded => "caught, by a hang",
        Ran::NotBuilt => "does not build",
        Ran::None => "no test has run",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Tries four faults, of tests `a` and `b` in turn. The answers are by fault and test.
    fn tried(answer: impl Fn(Option<usize>, &str) -> Option<Ran>) -> (Tried, Vec<String>) {
        let fault = |index: usize| Fault {
            file: "src/arch/a.rs".into(),
            what: index.to_string(),
            from: "a".into(),
            to: "b".into(),
            test: ["a", "b"][index % 2].into(),
            reason: None,
        };
        let faults: Vec<_> = (0..4).map(fault).collect();
        let mutants: Vec<_> = faults.iter().map(Fault::as_mutant).collect();
        let due: Vec<_> = faults.iter().zip(&mutants).collect();
        let runs = RefCell::new(Vec::new());
        let tried = run(
            &due,
            || false,
            |fault, test, limit| {
                let index = fault.map(|fault| fault.what.parse().expect("a number"));
                let long = if limit == LIMIT { "" } else { ", long" };
                runs.borrow_mut().push(match index {
                    Some(index) => format!("{index} by {test}{long}"),
                    None => format!("{test}{long}"),
                });
                let ran = answer(index, test).ok_or("an error")?;
                Ok((ran, "its output".into()))
            },
        );
        (tried, runs.into_inner())
    }

    fn fates(tried: &Tried) -> Vec<(&str, Fate)> {
        let fates = tried.fates.iter();
        fates
            .map(|(name, fate)| (name.strip_prefix("src/arch/a.rs:").expect("a name"), *fate))
            .collect()
    }

    #[test]
    fn each_test_passes_without_a_fault_after_its_faults() {
        let (tried, runs) = tried(|fault, _| {
            Some(match fault {
                None => Ran::Passed,
                Some(0) => Ran::Failed,
                Some(1) => Ran::NotEnded,
                Some(2) => Ran::Passed,
                Some(_) => Ran::NotBuilt,
            })
        });
        let expected = ["a, long", "0 by a", "2 by a", "a", "1 by b", "3 by b", "b"];
        assert_eq!(runs, expected);
        let expected = [
            ("0", Fate::Caught),
            ("1", Fate::Hung),
            ("2", Fate::Survived),
            ("3", Fate::Unviable),
        ];
        assert_eq!(fates(&tried), expected);
        assert!(
            tried.end.is_ok() && tried.complaints.is_empty(),
            "{tried:?}"
        );
    }

    #[test]
    fn nothing_is_known_by_a_test_that_fails_without_a_fault() {
        let (tried, _) = tried(|fault, test| {
            let fails = fault.is_some() || test == "b";
            Some(if fails { Ran::Failed } else { Ran::Passed })
        });
        assert_eq!(fates(&tried), [("0", Fate::Caught), ("2", Fate::Caught)]);
        let [complaint] = &tried.complaints[..] else {
            panic!("{tried:?}");
        };
        assert!(complaint.starts_with("`b` does not pass"), "{complaint}");
    }

    /// What was found by other tests is not lost, and of this one nothing is believed.
    #[test]
    fn an_error_keeps_what_was_confirmed() {
        let (tried, runs) = tried(|fault, _| match fault {
            None => Some(Ran::Passed),
            Some(3) => None,
            Some(_) => Some(Ran::Failed),
        });
        assert_eq!(runs.last().map(String::as_str), Some("3 by b"));
        assert_eq!(fates(&tried), [("0", Fate::Caught), ("2", Fate::Caught)]);
        assert!(tried.end.is_err());
    }

    #[test]
    fn a_fault_with_which_no_test_runs_is_complained_of() {
        let (tried, _) = tried(|fault, _| {
            Some(match fault {
                Some(2) => Ran::None,
                Some(_) => Ran::Failed,
                None => Ran::Passed,
            })
        });
        assert_eq!(tried.fates.len(), 3);
        let [complaint] = &tried.complaints[..] else {
            panic!("{tried:?}");
        };
        assert!(complaint.contains("runs no test"), "{complaint}");
    }
}
