//! `cargo vm mutants --machine`: chosen faults in what only a machine runs, of which a test in a VM
//! must notice each.

mod fault;
mod trials;

use super::{
    super::{Ended, complain, ended, note, record},
    Arguments,
    found::{Fate, Found},
    mutant::Mutant,
    tree,
};
use crate::{stop::StopToken, workspace::Workspace};
use fault::{Fault, LIST};
use record::Run;
use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};
use trials::{Ran, Trials};

/// The record's name.
const NAME: &str = "mutants-machine";

/// How many lines of tests are shown that fail without a fault.
const SHOWN: usize = 40;

pub(super) fn run(arguments: &Arguments, stop: &StopToken) -> Ended {
    let start = Instant::now();
    let limit = arguments.minutes.map_or(Duration::MAX, |minutes| {
        Duration::from_secs(60 * u64::from(minutes))
    });
    let workspace = Workspace::locate()?;
    let tree = tree::copy(&workspace)?;
    let faults = fault::read(&tree)?;
    let mutants: Vec<Mutant> = faults.iter().map(Fault::as_mutant).collect();
    let contents = tree::contents(&tree, &mutants)?;
    let mut found = Found::new(contents, record::read(&workspace, NAME)?);
    let chosen = arguments.chosen(&mutants);
    if arguments.again {
        found.forget(&chosen);
    }
    let is_due = |mutant: &Mutant| chosen.contains(&mutant) && found.fate(mutant).is_none();
    let due: Vec<_> = faults
        .iter()
        .zip(&mutants)
        .filter(|(_, mutant)| is_due(mutant))
        .collect();
    let mut end = Ok(());
    let mut unsound = BTreeSet::new();
    if !due.is_empty() {
        note(format_args!(
            "{} mutants: their tests in VMs, of which some are built first",
            due.len()
        ));
        let trials = Trials::build(&tree, stop)?;
        let tests: BTreeSet<&str> = due.iter().map(|(fault, _)| &*fault.test).collect();
        for test in tests {
            let (ran, output) = trials.run(test, stop)?;
            if ran != Ran::Passed {
                let lines: Vec<&str> = output.lines().collect();
                for line in &lines[lines.len().saturating_sub(SHOWN)..] {
                    note(format_args!("  {line}"));
                }
                unsound.insert(test);
            }
        }
        for (fault, mutant) in due {
            if unsound.contains(&*fault.test) {
                continue;
            }
            if start.elapsed() > limit {
                break;
            }
            match tried(fault, &trials, &tree, stop) {
                Ok(fate) => {
                    note(format_args!("{}: {}", described(fate), mutant.name()));
                    found.add([(mutant.name(), fate)].into());
                }
                Err(error) => {
                    end = Err(error);
                    break;
                }
            }
        }
    }

    let tally = Tally::new(&faults, &mutants, &found);
    arguments.recording.write(
        &workspace,
        &Run {
            name: NAME.into(),
            claim: "The tests in VMs notice chosen faults in what only a machine runs: \
                    interrupts, controllers, timers, halts, faults, Hyperlight's ticks.",
            command: "cargo vm mutants --machine --record".into(),
            took: start.elapsed(),
            passed: tally.passed(),
            result: tally.result(),
            details: found.details(),
        },
    )?;
    let written = writeln!(io::stdout(), "{}", tally.result());
    for complaint in &tally.complaints {
        complain(format_args!("{complaint}"));
    }
    for test in &unsound {
        complain(format_args!(
            "`{test}` does not pass without a fault, so nothing was tried by it: run `cargo test \
             --test vm -- {test}`, and see {LIST}"
        ));
    }
    end?;
    let is_good = tally.complaints.is_empty() && unsound.is_empty();
    ended(written, u8::from(!is_good))
}

/// Makes the fault, runs its tests, and takes it back.
fn tried(
    fault: &Fault,
    trials: &Trials,
    tree: &Path,
    stop: &StopToken,
) -> Result<Fate, Box<dyn Error>> {
    let path = tree.join(&fault.file);
    let source = fs::read_to_string(&path)?;
    fs::write(&path, fault.applied(&source)?)?;
    let ran = trials.run(&fault.test, stop);
    // The next run copies it anew, should this fail.
    fs::write(&path, source)?;
    match ran {
        Ok((Ran::Passed, _)) => Ok(Fate::Survived),
        Ok((Ran::Failed, _)) => Ok(Fate::Caught),
        Ok((Ran::NotBuilt | Ran::None, _)) => Ok(Fate::Unviable),
        // A hang of a guest is a test that fails: tests have time limits. This may be a slow build.
        Err(error) => Err(error.into()),
    }
}

fn described(fate: Fate) -> &'static str {
    match fate {
        Fate::Caught | Fate::Hung => "caught",
        Fate::Unviable => "does not build",
        Fate::Suspected | Fate::Survived => "SURVIVED",
    }
}

/// How many met which fate.
#[derive(Debug, Default)]
struct Tally {
    caught: usize,
    listed: usize,
    untried: usize,
    complaints: Vec<String>,
}

impl Tally {
    fn new(faults: &[Fault], mutants: &[Mutant], found: &Found) -> Self {
        let mut tally = Self::default();
        for (fault, mutant) in faults.iter().zip(mutants) {
            let name = mutant.name();
            let is_listed = fault.reason.is_some();
            match found.fate(mutant) {
                None => tally.untried += 1,
                Some(Fate::Caught | Fate::Hung) => tally.caught += 1,
                Some(Fate::Survived | Fate::Suspected) if is_listed => tally.listed += 1,
                Some(Fate::Survived | Fate::Suspected) => tally.complaints.push(format!(
                    "{name}: `{}` passes with it. Mend the test, or give a `reason` in {LIST}",
                    fault.test
                )),
                Some(Fate::Unviable) => tally.complaints.push(format!(
                    "{name}: it does not build, so no test has seen it: write it anew in {LIST}"
                )),
            }
            if is_listed && matches!(found.fate(mutant), Some(Fate::Caught | Fate::Hung)) {
                tally.complaints.push(format!(
                    "{name}: it is caught: take its `reason` out of {LIST}"
                ));
            }
        }
        tally
    }

    fn passed(&self) -> Option<bool> {
        match (self.complaints.is_empty(), self.untried) {
            (false, _) => Some(false),
            (true, 0) => Some(true),
            (true, _) => None,
        }
    }

    fn result(&self) -> String {
        let caught = self.caught;
        let tried = caught + self.listed + self.complaints.len();
        let mut result = format!("{caught} of {tried} caught");
        for (number, what) in [
            (self.listed, "listed"),
            (self.complaints.len(), "wrong"),
            (self.untried, "not tried yet"),
        ] {
            if number > 0 {
                result = format!("{result}, {number} {what}");
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn survivors_need_a_reason_and_others_have_none() {
        let fault = |what: &str, reason: Option<&str>| Fault {
            file: "src/arch/a.rs".into(),
            what: what.into(),
            from: "a".into(),
            to: "b".into(),
            test: "kvm::demo".into(),
            reason: reason.map(str::to_owned),
        };
        let faults = [
            fault("caught", None),
            fault("survived", None),
            fault("listed", Some("nobody sees it")),
            fault("listed and caught", Some("nobody sees it")),
            fault("unviable", None),
            fault("new", None),
        ];
        let mutants: Vec<_> = faults.iter().map(Fault::as_mutant).collect();
        let contents: BTreeMap<_, _> = [("src/arch/a.rs".to_owned(), "1".to_owned())].into();
        let mut found = Found::new(contents, None);
        let fates = [
            Fate::Caught,
            Fate::Survived,
            Fate::Survived,
            Fate::Caught,
            Fate::Unviable,
        ];
        found.add(mutants.iter().map(Mutant::name).zip(fates).collect());
        let tally = Tally::new(&faults, &mutants, &found);
        let expected = ["survived: `kvm::demo`", "caught: it is", "does not build"];
        assert_eq!(tally.complaints.len(), expected.len(), "{tally:?}");
        for (complaint, expected) in tally.complaints.iter().zip(expected) {
            assert!(complaint.contains(expected), "{complaint}");
        }
        assert_eq!(tally.passed(), Some(false));
        assert_eq!(
            tally.result(),
            "2 of 6 caught, 1 listed, 3 wrong, 1 not tried yet"
        );
        let good = Tally::new(&faults[..1], &mutants[..1], &found);
        assert_eq!(good.passed(), Some(true));
        let so_far = Tally::new(&faults[5..], &mutants[5..], &found);
        assert_eq!(so_far.passed(), None);
    }
}
