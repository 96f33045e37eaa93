//! `cargo vm mutants --machine`: chosen faults in what only a machine runs, of which a test in a VM
//! must notice each.

mod fault;
mod tally;
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
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};
use tally::Tally;
use trials::{Ran, Trials, TrialsError};

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
    let tree = tree::copy(&workspace, "machine-tree")?;
    let faults = fault::read(&tree)?;
    let mutants: Vec<Mutant> = faults.iter().map(Fault::as_mutant).collect();
    let mut contents = tree::contents(&tree, &mutants)?;
    for (file, content) in &mut contents {
        let of_it = faults.iter().filter(|fault| fault.file == *file);
        *content = format!("{content}-{:016x}", fault::fingerprint(of_it));
    }
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
    let mut trying = Trying {
        unsound: BTreeMap::new(),
        found,
    };
    let end = match due.is_empty() {
        true => Ok(()),
        false => trying.run(&due, &tree, || start.elapsed() > limit, stop),
    };
    let Trying { unsound, found } = trying;

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
    for (test, when) in &unsound {
        complain(format_args!(
            "`{test}` does not pass without a fault{when}, so nothing is known by it: run `cargo \
             test --test vm -- {test}`, and see {LIST}"
        ));
    }
    end?;
    let is_good = tally.complaints.is_empty() && unsound.is_empty();
    ended(written, u8::from(!is_good))
}

/// What is known while faults are tried.
struct Trying<'a> {
    /// The tests that do not pass without a fault, and when they did not.
    unsound: BTreeMap<&'a str, &'static str>,
    found: Found,
}

impl<'a> Trying<'a> {
    /// Tries the faults whose tests pass without them, before and after: what makes every test fail
    /// must not pass for a test that notices.
    fn run(
        &mut self,
        due: &[(&'a Fault, &Mutant)],
        tree: &Path,
        is_over: impl Fn() -> bool,
        stop: &StopToken,
    ) -> Result<(), Box<dyn Error>> {
        note(format_args!(
            "{} mutants: their tests in VMs, of which some are built first",
            due.len()
        ));
        let trials = Trials::build(tree, stop)?;
        let tests: BTreeSet<&str> = due.iter().map(|(fault, _)| &*fault.test).collect();
        self.see_pass(tests, "", &trials, stop)?;
        let mut tried = Vec::new();
        for (fault, mutant) in due {
            if is_over() {
                break;
            }
            if self.unsound.contains_key(&*fault.test) {
                continue;
            }
            let ran = ran_with(fault, &trials, tree, stop)?;
            note(format_args!("{}: {}", described(ran), mutant.name()));
            let fate = match ran {
                Ran::Passed => Fate::Survived,
                Ran::Failed => Fate::Caught,
                Ran::NotEnded => Fate::Hung,
                Ran::NotBuilt => Fate::Unviable,
                Ran::None => continue,
            };
            self.found.add([(mutant.name(), fate)].into());
            tried.push((*fault, *mutant));
        }
        let tests = tried.iter().map(|(fault, _)| &*fault.test).collect();
        self.see_pass(tests, " any more", &trials, stop)?;
        let is_unsound = |(fault, _): &&(&Fault, &Mutant)| self.unsound.contains_key(&*fault.test);
        let in_vain: Vec<&Mutant> = tried
            .iter()
            .filter(is_unsound)
            .map(|tried| tried.1)
            .collect();
        self.found.forget(&in_vain);
        Ok(())
    }

    /// Runs tests without a fault.
    fn see_pass(
        &mut self,
        tests: BTreeSet<&'a str>,
        when: &'static str,
        trials: &Trials,
        stop: &StopToken,
    ) -> Result<(), TrialsError> {
        for test in tests {
            let (ran, output) = trials.run(test, trials::BUILD_LIMIT, stop)?;
            if ran == Ran::Passed {
                note(format_args!("passes without a fault: {test}"));
            } else {
                let lines: Vec<&str> = output.lines().collect();
                for line in &lines[lines.len().saturating_sub(SHOWN)..] {
                    note(format_args!("  {line}"));
                }
                self.unsound.insert(test, when);
            }
        }
        Ok(())
    }
}

/// Makes the fault, runs its tests, and takes it back.
fn ran_with(
    fault: &Fault,
    trials: &Trials,
    tree: &Path,
    stop: &StopToken,
) -> Result<Ran, Box<dyn Error>> {
    let path = tree.join(&fault.file);
    let source = fs::read_to_string(&path)?;
    fs::write(&path, fault.applied(&source)?)?;
    let ran = trials.run(&fault.test, trials::LIMIT, stop);
    // The next run copies it anew, should this fail.
    fs::write(&path, source)?;
    Ok(ran?.0)
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
