//! `cargo vm mutants --machine`: chosen faults in what only a machine runs, of which a test in a VM
//! must notice each.

mod fault;
mod tally;
mod trials;
mod trying;

use super::{
    super::{Ended, complain, ended, note, record},
    Arguments,
    found::Found,
    mutant::Mutant,
    recorded::{self, End},
    tree,
};
use crate::{process::ProcessError, stop::StopToken, workspace::Workspace};
use fault::Fault;
use record::Run;
use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};
use tally::Tally;
use trials::Trials;

/// The record's name.
const NAME: &str = "mutants-machine";

pub(super) fn run(arguments: &Arguments, stop: &StopToken) -> Ended {
    let start = Instant::now();
    let limit = arguments.minutes.map_or(Duration::MAX, |minutes| {
        Duration::from_secs(60 * u64::from(minutes))
    });
    let workspace = Workspace::locate()?;
    let tree = tree::copy(&workspace, "machine-tree")?;
    let faults = fault::read(&tree)?;
    let mutants: Vec<Mutant> = faults.iter().map(Fault::as_mutant).collect();
    arguments.check_files(&mutants)?;
    let mut contents = tree::contents(&tree, &mutants)?;
    for (file, content) in &mut contents {
        let of_it = faults.iter().filter(|fault| fault.file == *file);
        *content = format!("{content}-{:016x}", fault::fingerprint(of_it));
    }
    let mut found = Found::new(contents, record::read(&workspace, NAME)?);
    found.keep_only(&mutants);
    let chosen = arguments.chosen(&mutants);
    let is_due = |mutant: &Mutant| {
        chosen.contains(&mutant) && (arguments.again || found.fate(mutant).is_none())
    };
    let due = faults.iter().zip(&mutants);
    let due: Vec<_> = due.filter(|(_, mutant)| is_due(mutant)).collect();
    // What an earlier run has found passes for no result of this one, should it find none.
    found.forget(due.iter().map(|(_, mutant)| *mutant));
    let (mut wrong, mut end) = (Vec::new(), Ok(()));
    if !due.is_empty() {
        note(format_args!(
            "{} mutants: their tests in VMs, of which some are built first",
            due.len()
        ));
        let trials = Trials::build(&tree, stop)?;
        let run = |fault: Option<&Fault>, test: &str, limit| match fault {
            None => Ok(trials.run(test, limit, stop)?),
            Some(fault) => with_fault(fault, &tree, || trials.run(test, limit, stop)),
        };
        let tried = trying::run(&due, || start.elapsed() > limit, run);
        found.add(tried.fates);
        (wrong, end) = (tried.complaints, tried.end);
    }

    let tally = Tally::new(&faults, &mutants, &found);
    let how = match &end {
        Err(_) if stop.is_stopped() => End::Early,
        Ok(()) if wrong.is_empty() => {
            match due.iter().all(|(_, mutant)| found.fate(mutant).is_some()) {
                true => End::All,
                // Its time was over.
                false => End::Early,
            }
        }
        _ => End::Failed,
    };
    let run = Run {
        name: NAME.into(),
        claim: "The tests in VMs notice chosen faults in what only a machine runs: \
                interrupts, controllers, timers, halts, faults, Hyperlight's ticks.",
        command: "cargo vm mutants --machine --record".into(),
        took: start.elapsed(),
        passed: tally.passed(),
        result: tally.result(),
        details: found.details(),
    };
    recorded::write(
        arguments.recording,
        &workspace,
        run,
        &found,
        mutants.len(),
        how,
    )?;
    let written = writeln!(io::stdout(), "{}", tally.result());
    for complaint in tally.complaints.iter().chain(&wrong) {
        complain(format_args!("{complaint}"));
    }
    end?;
    let is_good = tally.complaints.is_empty() && wrong.is_empty();
    ended(written, u8::from(!is_good))
}

/// Makes a fault, runs its tests, and takes it back.
fn with_fault<T>(
    fault: &Fault,
    tree: &Path,
    run: impl FnOnce() -> Result<T, ProcessError>,
) -> Result<T, Box<dyn Error>> {
    let path = tree.join(&fault.file);
    let source = fs::read_to_string(&path)?;
    fs::write(&path, fault.applied(&source)?)?;
    let ran = run();
    // The next run copies it anew, should this fail.
    fs::write(&path, source)?;
    Ok(ran?)
}
