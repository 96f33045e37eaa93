//! A failed or hung guest's report names the task, the file and the line, whether the guest was
//! optimised or not.

use std::{path::Path, time::Duration};

use dormir_harness::vmm::{Outcome, Vmm};
use libtest_mimic::{Failed, Trial};

use crate::guest::{Run, boot_file, config, endings_in_dev, image_of, on_every_vmm};

/// The guest's cases. The lines that they fail at end with their names.
const SOURCE: &str = include_str!("../../guest-image/programs/src/bin/endings/reports.rs");
const FILE: &str = "guest-image/programs/src/bin/endings/reports.rs";
const TASK: &str = "task endings::reports::fails";

/// Enough time to boot, on a machine that emulates each instruction.
const HANG_LIMIT: Duration = Duration::from_secs(5);

/// The same for a build that is not optimised.
const HANG_LIMIT_IN_DEV: Duration = Duration::from_secs(8);

/// How a case ends: with a sentence that contains this.
enum Ending {
    Panics(&'static str),
    Faults(&'static str),
    Hangs(&'static str),
}

const CASES: &[(&str, Ending)] = &[
    ("end-report-panic", Ending::Panics("no luck")),
    (
        "end-report-page-fault",
        Ending::Faults("page fault writing unmapped address 0xf0000000"),
    ),
    (
        "end-report-stack-overflow",
        Ending::Faults("stack overflow of the main stack"),
    ),
    ("end-report-deadlock", Ending::Hangs("halted in task")),
    ("end-report-endless-loop", Ending::Hangs("does not yield, ")),
    (
        "end-report-critical-section",
        Ending::Hangs("does not yield, with interrupts masked"),
    ),
];

/// The cases that fail at one instruction of the marked line, so that the sentence names it. The
/// others are somewhere in a loop or a recursion.
const AT_THE_LINE: &[&str] = &[
    "end-report-panic",
    "end-report-page-fault",
    "end-report-deadlock",
];

pub(crate) fn trials() -> Vec<Trial> {
    let cases = CASES.iter().flat_map(|(case, ending)| {
        let release = on_every_vmm(&format!("{case}-release"), move |vmm| {
            reports(image_of("endings")?, HANG_LIMIT, vmm, case, ending)
        });
        let dev = on_every_vmm(&format!("{case}-dev"), move |vmm| {
            reports(endings_in_dev()?, HANG_LIMIT_IN_DEV, vmm, case, ending)
        });
        release.into_iter().chain(dev)
    });
    cases.collect()
}

fn reports(
    elf: &Path,
    hang_limit: Duration,
    vmm: Vmm,
    case: &str,
    ending: &Ending,
) -> Result<(), Failed> {
    let mut config = config(vmm, format!("case={case}"));
    if matches!(ending, Ending::Hangs(_)) {
        config.timeout = hang_limit;
    }
    let run = boot_file(elf, &config)?;
    let outcome = &run.report.outcome;
    let sentence = outcome.to_string();
    let expected = match (ending, outcome) {
        (Ending::Panics(text), Outcome::Panicked(_))
        | (Ending::Faults(text), Outcome::Faulted(_))
        | (Ending::Hangs(text), Outcome::TimedOut { .. }) => text,
        _ => return run.check(false, "the guest ended in another way"),
    };
    run.check(
        sentence.contains(expected),
        "the report does not describe what happened",
    )?;
    run.check(sentence.contains(TASK), "the report does not name the task")?;
    names_the_line(&run, case)
}

/// Checks that the sentence names the file, with the line that is marked with the case's name if it
/// is that line which fails, and that the backtrace has the line.
fn names_the_line(run: &Run, case: &str) -> Result<(), Failed> {
    let marked = SOURCE
        .lines()
        .position(|line| line.ends_with(&format!("// {case}")));
    let line = 1 + marked.ok_or("no line is marked")?;
    let Some(backtrace) = &run.report.backtrace else {
        return run.check(false, "there is no backtrace");
    };
    let is_there = backtrace.frames.iter().any(|frame| {
        let location = frame.location.as_ref();
        location.is_some_and(|(file, at)| file.ends_with(FILE) && *at as usize == line)
    });
    run.check(
        is_there,
        &format!("line {line} is not in the report:\n{backtrace}"),
    )?;
    let sentence = run.report.outcome.to_string();
    let lines: Vec<usize> = sentence
        .split("endings/reports.rs:")
        .skip(1)
        .filter_map(|rest| {
            rest.split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        })
        .collect();
    run.check(!lines.is_empty(), "the sentence does not name the file")?;
    run.check(
        !AT_THE_LINE.contains(&case) || lines == [line],
        &format!("the sentence does not name line {line}"),
    )
}
