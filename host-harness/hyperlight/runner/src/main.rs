//! Runs dormir's Hyperlight guest: one test case, demo or measurement, in one process.
//!
//! It is built twice, with the feature `hw-interrupts` and without, since that is a compile-time
//! feature of hyperlight-host. Its caller names the mode that it expects.

mod bad_input;
mod bench;
mod calls;
mod demo;
mod driven;
mod exits;
mod host_call_bench;
mod host_calls;
mod polled;
mod process;
mod processor_time;
mod random_calls;
mod report;
mod runtimes;
mod sandbox;
mod snapshots;
mod soak;
mod streams;
mod typed_calls;
mod written_once;

use std::{env, error::Error, path::PathBuf, process::ExitCode};

use sandbox::{Check, MODE, SandboxGuest};

/// A test case, and its name.
type Case = (&'static str, fn(&SandboxGuest) -> Check);

const CASES: &[&[Case]] = &[
    calls::CASES,
    polled::CASES,
    snapshots::CASES,
    host_calls::CASES,
    typed_calls::CASES,
    streams::CASES,
    driven::CASES,
    runtimes::CASES,
    random_calls::CASES,
    bad_input::CASES,
    written_once::CASES,
];

const USAGE: &str = "usage: dormir-hyperlight-runner MODE GUEST CASE, where MODE is hyperlight or \
                     hyperlight-interrupts, GUEST an ELF file, and CASE `list`, one of those it \
                     lists, `demo:NAME`, `call:FUNCTION`, `bench:WHAT:SAMPLES:MILLISECONDS`, or \
                     `soak:NAME:COUNT:SEED`";

/// The exit status if no guest ran to its end.
const NOT_RUN: u8 = 125;

fn main() -> ExitCode {
    match run() {
        Ok(status) => ExitCode::from(status),
        Err(sentence) => {
            eprintln!("{sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<u8, String> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [mode, guest, case] = arguments.as_slice() else {
        return Err(USAGE.into());
    };
    if mode != MODE {
        return Err(format!(
            "this is the runner for {MODE}, not for {mode}: build it with{} --features \
             hw-interrupts",
            if MODE == "hyperlight" { "" } else { "out" }
        ));
    }
    let cases = || CASES.iter().copied().flatten();
    if case == "list" {
        cases().for_each(|(name, _)| println!("{name}"));
        return Ok(0);
    }
    let guest = SandboxGuest::new(PathBuf::from(guest));
    if let Some(name) = case.strip_prefix("demo:") {
        return Ok(report::tell(demo::run(&guest, name).map(|()| 0)));
    }
    if let Some(function) = case.strip_prefix("call:") {
        return Ok(report::tell(call(&guest, function)));
    }
    if let Some(what) = case.strip_prefix("bench:") {
        let measured = bench::run(&guest, what);
        return measured.map(|()| 0).map_err(|error| error.to_string());
    }
    if let Some(what) = case.strip_prefix("soak:") {
        let checked = soak::run(&guest, what);
        return checked
            .map(|()| 0)
            .map_err(|error| format!("{MODE}::{case}: {error}"));
    }
    let Some((_, test)) = cases().find(|(name, _)| name == case) else {
        return Err(format!("there is no case `{case}`; {USAGE}"));
    };
    let tested = test(&guest).map_err(|error| format!("{MODE}::{case}: {error}"));
    tested.map(|()| 0)
}

/// Calls the guest's function `function`, which returns the exit code.
fn call(guest: &SandboxGuest, function: &str) -> Result<i32, Box<dyn Error>> {
    let (mut sandbox, _host) = guest.sandbox().map_err(|error| {
        format!(
            "no sandbox can be built from this guest ({error}): docs/hyperlight.md explains how to \
             build one"
        )
    })?;
    Ok(sandbox.call::<i32>(function, ())?)
}
