//! Tests in guests: each test of each test program, under each VMM.
//!
//! They are listed as `cargo test` in a guest's package lists them, from the programs' tables, so
//! the programs are built before the first test, unless the filter names a test of another program.

use dormir_harness::{
    guest_tests::{self, GuestTest, TestReport},
    vmm::{Accelerator, MachineType, RunConfig, Vmm},
};
use libtest_mimic::{Failed, Trial};

use crate::guest::{TEST_PROGRAMS, chosen, config, image_of, on_every_vmm};

/// A test that checks nothing under KVM, as its source explains, and so must not seem to pass
/// there.
const ONLY_UNDER_TCG: &str = "cases::interrupts::spurious_ends_no_other";

pub(crate) fn trials() -> Vec<Trial> {
    let each_instruction = Trial::test(
        "qemu-tcg/q35::cases::events::is_polled_amid_signals:each-instruction",
        signals_at_each_instruction,
    );
    let programs = TEST_PROGRAMS.into_iter();
    let listed = programs.filter(|program| chosen().is_none_or(|name| may_be_of(name, program)));
    let trials = listed.flat_map(trials_of);
    trials.chain([each_instruction]).collect()
}

/// Whether tests of a program may have names that begin so.
fn may_be_of(begin: &str, program: &str) -> bool {
    let prefix = format!("{program}::");
    begin.starts_with(&prefix) || prefix.starts_with(begin)
}

fn trials_of(program: &'static str) -> Vec<Trial> {
    let tests = match tests_of(program) {
        Ok(tests) => tests,
        Err(failed) => {
            let name = format!("{program}::the-tests-can-be-listed");
            return on_every_vmm(&name, move |_| Err(failed.clone()));
        }
    };
    let on_each = |test: GuestTest| {
        let (name, is_ignored) = (format!("{program}::{}", test.name), test.is_ignored);
        let is_for_tcg = name == ONLY_UNDER_TCG;
        let trials = on_every_vmm(&name, move |vmm| passes(program, &test, &config(vmm, "")));
        trials.into_iter().map(move |trial| {
            let is_left_out = is_for_tcg && !trial.name().starts_with("qemu-tcg/");
            trial.with_ignored_flag(is_ignored || is_left_out)
        })
    };
    tests.into_iter().flat_map(on_each).collect()
}

/// With time as a count of instructions, an interrupt comes at each instruction of that test's
/// loop.
fn signals_at_each_instruction() -> Result<(), Failed> {
    let test = named("cases", "events::is_polled_amid_signals")?;
    let mut config = config(Vmm::Qemu(Accelerator::Tcg, MachineType::Q35), "");
    config.count_instructions = true;
    passes("cases", &test, &config)
}

/// Returns the tests of a test program.
fn tests_of(program: &str) -> Result<Vec<GuestTest>, Failed> {
    let tests = guest_tests::list(image_of(program)?)?;
    let tests = tests.filter(|tests| !tests.is_empty());
    tests.ok_or_else(|| format!("`{program}` has no tests").into())
}

/// Returns the test of this name.
pub(crate) fn named(program: &str, name: &str) -> Result<GuestTest, Failed> {
    let mut tests = tests_of(program)?.into_iter();
    let test = tests.find(|test| test.name == name);
    test.ok_or_else(|| format!("`{program}` has no test `{name}`").into())
}

/// Runs a test; returns its result and the guest's console.
pub(crate) fn run(
    program: &str,
    test: &GuestTest,
    config: &RunConfig,
) -> Result<(TestReport, String), Failed> {
    let mut console = Vec::new();
    let report = guest_tests::run(image_of(program)?, test, config, &mut console)?;
    Ok((report, String::from_utf8_lossy(&console).into_owned()))
}

fn passes(program: &str, test: &GuestTest, config: &RunConfig) -> Result<(), Failed> {
    let (report, console) = run(program, test, config)?;
    passed(report, &console)
}

/// Fails if the test has not passed.
pub(crate) fn passed(report: TestReport, console: &str) -> Result<(), Failed> {
    match report.failure {
        None => Ok(()),
        Some(failure) => Err(format!("{failure}\n--- console ---\n{console}").into()),
    }
}
