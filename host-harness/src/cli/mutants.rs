//! `cargo vm mutants`: small faults in the library's source, of which the host's tests must notice
//! each.

mod found;
mod kept;
mod machine;
mod mutant;
mod recorded;
mod stages;
mod tally;
#[cfg(test)]
mod tests;
mod tool;
mod tree;

use super::{
    Ended, Installing, complain, ended, note,
    record::{self, Recording, Run},
};
use crate::{process::ProcessError, stop::StopToken, workspace::Workspace};
use clap::value_parser;
use found::{Fate, Found};
use kept::Kept;
use mutant::Mutant;
use recorded::End;
use stages::STAGES;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    str::FromStr,
    time::{Duration, Instant},
};
use tally::Tally;
use tool::{Tool, ToolError, Tried};

/// Changes the library's source in small ways, one at a time, and runs its tests on the host:
/// one must fail
///
/// The changes, called mutants, are those of cargo-mutants to the files that `.cargo/mutants.toml`
/// names. They are made in a copy, target/mutants/tree. The fast tests come first, and for what
/// survives them all others, the models under loom too. What survives all tests must be listed in
/// docs/mutants.json, with a reason why no test can see it.
///
/// With --record the results of all mutants are kept in docs/records/mutants.json, and the next run
/// goes on where this one ended. Results of a file that has changed since are dropped. Those of
/// other files are kept whatever has changed in tests or elsewhere: --again tries them anew.
///
/// With --machine, the mutants are those that docs/machine-mutants.json chose: faults in what only
/// a machine runs. For each its tests in VMs are run, under QEMU and Hyperlight, which must be
/// there; afterwards the same tests must pass without a fault. The copy is
/// target/mutants/machine-tree, and the record docs/records/mutants-machine.json.
///
/// The status is 0 if none survived without a reason, 1 if one did or the list is wrong.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Tries the chosen faults of docs/machine-mutants.json by tests in VMs
    #[arg(long)]
    machine: bool,
    /// Tries only the mutants of files below this path, such as src/event.rs; repeatable
    #[arg(long, value_name = "PATH")]
    file: Vec<String>,
    /// Tries only each N-th mutant, from the K-th, counted from 0
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,
    /// Ends after this time
    #[arg(long)]
    #[arg(value_parser = value_parser!(u16).range(1..))]
    minutes: Option<u16>,
    /// Also tries those of which the result is known, which is dropped first, and by all tests
    /// those that are listed; to do so in parts, choose them by --shard or --file
    #[arg(long)]
    again: bool,
    #[command(flatten)]
    recording: Recording,
    #[command(flatten)]
    installing: Installing,
}

/// A part of all mutants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shard {
    index: usize,
    of: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no part of the mutants: pass K/N with K less than N, such as 0/4")]
struct ShardError(String);

#[derive(Debug, thiserror::Error)]
#[error("there are no mutants below `{path}`: pass a file or folder of src, such as {known}")]
struct NoMutantsError {
    path: String,
    known: String,
}

impl NoMutantsError {
    fn new(path: &str, all: &[Mutant]) -> Self {
        let known = all.last().map_or("src/event.rs", |mutant| &mutant.file);
        Self {
            path: path.to_owned(),
            known: known.to_owned(),
        }
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let numbers = text.split_once('/').and_then(|(index, of)| {
            let (index, of) = (index.parse().ok()?, of.parse().ok()?);
            (index < of).then_some(Self { index, of })
        });
        numbers.ok_or_else(|| ShardError(text.to_owned()))
    }
}

impl Arguments {
    /// Returns an error if a path was given that no mutant is below: it may be mistyped.
    fn check_files(&self, all: &[Mutant]) -> Result<(), NoMutantsError> {
        let has_none = |path: &&String| !all.iter().any(|mutant| mutant.file.starts_with(*path));
        let wrong = self.file.iter().find(has_none);
        wrong.map_or(Ok(()), |path| Err(NoMutantsError::new(path, all)))
    }

    /// The mutants that are to be tried.
    fn chosen<'a>(&self, all: &'a [Mutant]) -> Vec<&'a Mutant> {
        let is_below = |mutant: &&Mutant| {
            let mut paths = self.file.iter();
            self.file.is_empty() || paths.any(|path| mutant.file.starts_with(path.as_str()))
        };
        let below = all.iter().filter(is_below).enumerate();
        let is_in = |index: usize| {
            self.shard
                .is_none_or(|shard| index % shard.of == shard.index)
        };
        let chosen = below.filter(|(index, _)| is_in(*index));
        chosen.map(|(_, mutant)| mutant).collect()
    }
}

pub(super) fn run(arguments: &Arguments, stop: &StopToken) -> Ended {
    if arguments.machine {
        return machine::run(arguments, stop);
    }
    let start = Instant::now();
    let limit = arguments.minutes.map_or(Duration::MAX, |minutes| {
        Duration::from_secs(60 * u64::from(minutes))
    });
    let workspace = Workspace::locate()?;
    // Before a tool is built: no mutant is below what is not there.
    let is_missing = |path: &&String| !workspace.root().join(path).exists();
    if let Some(path) = arguments.file.iter().find(is_missing) {
        return Err(NoMutantsError::new(path, &[]).into());
    }
    let tool = Tool::find(&workspace, arguments.installing.policy(), stop)?;
    let tree = tree::copy(&workspace, "tree")?;
    let all = tool.list(&tree, stop)?;
    arguments.check_files(&all)?;
    let kept = Kept::read(&workspace)?;
    let contents = tree::contents(&tree, &all)?;
    let mut found = Found::new(contents, record::read(&workspace, NAME)?);
    found.keep_only(&all);
    let chosen = arguments.chosen(&all);
    // Those whose last try, in an earlier run, was a hang.
    let hung_once: BTreeSet<String> = chosen
        .iter()
        .filter(|mutant| found.fate(mutant) == Some(Fate::HungOnce))
        .map(|mutant| mutant.name())
        .collect();
    if arguments.again {
        // What an earlier run has found passes for no result of this one, should it end early. The
        // next run goes on with those that this one does not reach.
        found.forget(chosen.iter().copied());
    }

    let mut end = Ok(());
    for (index, stage) in STAGES.iter().enumerate() {
        let is_due = |mutant: &&&Mutant| match found.fate(mutant) {
            None | Some(Fate::HungOnce) => index == 0,
            Some(Fate::Suspected | Fate::Survived) => {
                let is_listed = kept.has(mutant) && !arguments.again;
                index > 0 && stage.is_for(mutant) && !is_listed
            }
            Some(_) => false,
        };
        let due: Vec<&Mutant> = chosen.iter().filter(is_due).copied().collect();
        if due.is_empty() {
            continue;
        }
        note(format_args!("{} mutants: {}", due.len(), stage.what));
        let hung_before = |mutant: &Mutant| hung_once.contains(&mutant.name());
        let mut tried = with_hangs_confirmed(&due, hung_before, |mutants| {
            let rest = limit.saturating_sub(start.elapsed());
            tool.test(&tree, stage, &all, mutants, rest, stop)
        });
        for mutant in due {
            let has_slower = STAGES[index + 1..]
                .iter()
                .any(|slower| slower.is_for(mutant));
            match tried.fates.get_mut(&mutant.name()) {
                Some(fate) if *fate == Fate::Survived && has_slower => *fate = Fate::Suspected,
                _ => {}
            }
        }
        found.add(tried.fates);
        end = tried.end;
        if end.is_err() {
            break;
        }
    }

    let tally = Tally::new(&all, &found, &kept);
    let complaints = tally.complaints();
    let how = match &end {
        Ok(()) => End::All,
        Err(_) if stop.is_stopped() => End::Early,
        Err(ToolError::Process(ProcessError::TimedOut { .. })) => End::Early,
        Err(_) => End::Failed,
    };
    let run = Run {
        name: NAME.into(),
        claim: "The host's tests notice small faults in executor, timers, events and idle \
                policies (mutants).",
        command: "cargo vm mutants --record".into(),
        took: start.elapsed(),
        passed: tally.passed(),
        result: tally.result(),
        details: found.details(),
    };
    recorded::write(arguments.recording, &workspace, run, &found, all.len(), how)?;
    let written = write!(io::stdout(), "{tally}");
    for complaint in complaints {
        complain(format_args!("{complaint}"));
    }
    match end {
        // The time that was given.
        Err(_) if how == End::Early && !stop.is_stopped() => {}
        other => other?,
    }
    ended(written, u8::from(!complaints.is_empty()))
}

/// Has mutants tried, and those that hang once more by themselves: a busy machine can have tests
/// take too long that would pass. What came of the second time counts, which may be that of a later
/// run: `hung_before` says so.
fn with_hangs_confirmed(
    due: &[&Mutant],
    hung_before: impl Fn(&Mutant) -> bool,
    mut test: impl FnMut(&[&Mutant]) -> Result<Tried, ToolError>,
) -> Tried {
    // What was found before an error is not lost.
    let mut test = |mutants: &[&Mutant]| {
        test(mutants).unwrap_or_else(|error| Tried {
            fates: BTreeMap::new(),
            end: Err(error),
        })
    };
    let mut tried = test(due);
    let (mut hung, again): (Vec<&Mutant>, Vec<&Mutant>) = due
        .iter()
        .filter(|mutant| tried.fates.get(&mutant.name()) == Some(&Fate::HungOnce))
        .partition(|mutant| hung_before(mutant));
    if !again.is_empty() && tried.end.is_ok() {
        note(format_args!(
            "{} hung, and are tried once more",
            again.len()
        ));
        let second = test(&again);
        let fate = |mutant: &Mutant| second.fates.get(&mutant.name());
        hung.extend(
            again
                .iter()
                .filter(|mutant| fate(mutant) == Some(&Fate::HungOnce)),
        );
        tried.fates.extend(second.fates);
        tried.end = second.end;
    }
    tried
        .fates
        .extend(hung.iter().map(|mutant| (mutant.name(), Fate::Hung)));
    tried
}

/// The record's name.
const NAME: &str = "mutants";
