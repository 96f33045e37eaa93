//! `cargo vm fuzz`: runs the fuzz targets for a time, and keeps what they cover.

mod corpora;
mod libfuzzer;
mod session;
mod tools;
mod totals;

use super::{Ended, Installing, complain, note, record::Recording, signals};
use crate::{fuzz::TARGETS, stop::StopToken, workspace::Workspace};
use clap::{
    builder::{PossibleValuesParser, TypedValueParser},
    value_parser,
};
use corpora::Corpora;
use session::{Plan, Session};
use std::time::{Duration, Instant};
use totals::Totals;

/// Fuzzes what reads untrusted bytes: runs each target with inputs that libFuzzer varies by what
/// they cover
///
/// The targets are in host-harness/fuzz. Each begins with its committed corpus and with what
/// earlier runs kept in target/fuzz/corpus, and adds what covers more to the latter. Inputs that
/// broke it earlier are in target/fuzz/findings, and are tried again first. The status is 1 if an
/// input breaks a target: a panic, an assertion, a bad access to memory (AddressSanitizer), a leak,
/// more than 2 GiB of memory, or more than 30 seconds.
///
/// Installs first what is missing: a nightly compiler by rustup, and cargo-fuzz. The first build
/// takes some minutes and needs a C++ compiler.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The targets, one after the other [default: all]
    #[arg(value_name = "TARGET", value_parser = targets())]
    targets: Vec<&'static str>,
    /// How long each target runs, in minutes; 0 only adds to the corpora, with --keep
    #[arg(long, default_value_t = 1)]
    #[arg(value_parser = value_parser!(u32).range(0..=100_000))]
    minutes: u32,
    /// How many processes run a target
    #[arg(long, default_value_t = 1)]
    #[arg(value_parser = value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Afterwards adds inputs that cover more to the committed corpora: the smallest first, while a
    /// target's corpus stays below 60 KiB
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    recording: Recording,
    #[command(flatten)]
    installing: Installing,
}

fn targets() -> impl TypedValueParser<Value = &'static str> {
    let names = || TARGETS.iter().map(|(name, _)| *name);
    PossibleValuesParser::new(names()).map(move |chosen| {
        let found = names().find(|name| *name == chosen);
        found.expect("only these are possible")
    })
}

/// The inputs of a target that are kept in the checkout: fewer bytes than this.
const COMMITTED: u64 = 60 << 10;

pub(super) fn run(arguments: &Arguments, stop: &StopToken) -> Ended {
    if arguments.minutes == 0 && !arguments.keep {
        return Err(
            "nothing to do in 0 minutes: pass more, or --keep to add to the corpora".into(),
        );
    }
    let workspace = Workspace::locate()?;
    let policy = arguments.installing.policy();
    tools::set_up(&workspace, policy, stop)?;
    let mut targets = arguments.targets.clone();
    if targets.is_empty() {
        targets.extend(TARGETS.iter().map(|(name, _)| *name));
    }
    let begun = Instant::now();
    let (mut ran, mut findings) = (Vec::new(), 0);
    for name in targets {
        let program = tools::build(&workspace, name, stop)?;
        let corpora = Corpora::of(&workspace, name)?;
        if arguments.minutes > 0 {
            let plan = Plan {
                limit: Duration::from_secs(60 * u64::from(arguments.minutes)),
                jobs: arguments.jobs,
            };
            let session = Session::run(name, &program, &corpora, plan, stop)?;
            findings += report(name, &session);
            ran.push(name);
            // After each, so that little is lost if this process is killed.
            let mut totals = Totals::read(&workspace)?;
            totals.add(name, &session, |input| corpora.has(input));
            let words = command_line(&ran, arguments);
            let run = totals.run(words, &ran, begun.elapsed(), findings);
            arguments.recording.write(&workspace, &run)?;
        }
        if stop.is_stopped() {
            return Ok(signals::STOPPED);
        }
        if arguments.keep {
            let kept = corpora.keep(&program, COMMITTED, stop)?;
            note(format_args!("{name}: {kept}"));
        }
    }
    Ok(u8::from(findings > 0))
}

/// Says how a session ended. Returns how many inputs it found that break the target.
fn report(name: &str, session: &Session) -> u64 {
    for finding in &session.findings {
        for line in &finding.lines {
            note(format_args!("  {line}"));
        }
        complain(format_args!(
            "{name}: an input breaks it, {}: run it alone by `{}`, mend what it shows, and add the \
             input to host-harness/fuzz/corpus/{name}",
            finding.input.display(),
            finding.again,
        ));
    }
    note(format_args!("{name}: {session}"));
    session.findings.len() as u64
}

/// The command line that repeats a run.
fn command_line(ran: &[&str], arguments: &Arguments) -> String {
    let mut line = "cargo vm fuzz".to_owned();
    if ran.len() < TARGETS.len() {
        line = format!("{line} {}", ran.join(" "));
    }
    format!("{line} --minutes {}", arguments.minutes)
}

/// The fuzzer itself failed, so nothing is known of the target.
#[derive(Debug, thiserror::Error)]
#[error(
    "the fuzzer of `{name}` ended without a finding ({status}): see its messages above, and run \
     the command again"
)]
struct BrokenFuzzerError {
    name: String,
    status: std::process::ExitStatus,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Parser, error::ErrorKind};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn targets_are_taken_by_their_names() {
        let parsed = |words: &[&str]| Line::try_parse_from([&["fuzz"], words].concat());
        let line = parsed(&["elf", "vsock", "--minutes", "5"]).expect("they exist");
        assert_eq!(line.arguments.targets, ["elf", "vsock"]);
        let words = command_line(&line.arguments.targets, &line.arguments);
        assert_eq!(words, "cargo vm fuzz elf vsock --minutes 5");
        let error = parsed(&["nothing"]).expect_err("there is no such target");
        assert_eq!(error.kind(), ErrorKind::InvalidValue);
    }
}
