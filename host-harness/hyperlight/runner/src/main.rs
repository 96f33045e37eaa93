//! Runs dormir's Hyperlight guest: one test case, in one process.
//!
//! It is built twice, with the feature `hw-interrupts` and without, since that is a compile-time feature of
//! hyperlight-host. Who starts it says which one it is to be.

mod bad_input;
mod calls;
mod polled;
mod sandbox;
mod snapshots;

use std::{env, path::PathBuf, process::ExitCode};

use sandbox::{Check, Guest, MODE};

/// A test case, and its name.
type Case = (&'static str, fn(&Guest) -> Check);

const CASES: &[&[Case]] = &[
    calls::CASES,
    polled::CASES,
    snapshots::CASES,
    bad_input::CASES,
];

const USAGE: &str = "usage: dormir-hyperlight-runner MODE GUEST CASE, where MODE is hyperlight or \
                     hyperlight-interrupts, GUEST an ELF file, and CASE `list` or one of those it lists";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("{sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [mode, guest, case] = arguments.as_slice() else {
        return Err(USAGE.into());
    };
    if mode != MODE {
        return Err(format!(
            "this is the runner for {MODE}, not for {mode}: build it with{} --features hw-interrupts",
            if MODE == "hyperlight" { "" } else { "out" }
        ));
    }
    let cases = || CASES.iter().copied().flatten();
    if case == "list" {
        cases().for_each(|(name, _)| println!("{name}"));
        return Ok(());
    }
    let Some((_, test)) = cases().find(|(name, _)| name == case) else {
        return Err(format!("there is no case `{case}`; {USAGE}"));
    };
    let guest = Guest::new(PathBuf::from(guest));
    test(&guest).map_err(|error| format!("{MODE}::{case}: {error}"))
}
