//! The test cases; `case=NAME` chooses one, `case=list` prints the names.
//!
//! A case that passes returns. A case that must end in another way (a fault, a hang) is named
//! `end-...`, and the test that runs it expects exactly that.
#![no_std]
#![no_main]

extern crate alloc;

mod device;
mod endings;
mod events;
mod executor;
mod idling;
mod interrupts;
mod probes;
mod regressions;
mod reports;
mod sleepers;
mod timers;
mod wakers;

use dormir_guest::{args, println};

dormir_guest::entry!(main);

type Case = (&'static str, fn());

/// The cases that return if they pass.
const CASES: &[&[Case]] = &[
    events::CASES,
    executor::CASES,
    idling::CASES,
    interrupts::CASES,
    sleepers::CASES,
    timers::CASES,
    wakers::CASES,
    regressions::CASES,
];

fn main() -> Result<(), &'static str> {
    let wanted = args::value("case").ok_or("missing case=NAME, or case=list")?;
    if wanted == "list" {
        CASES
            .iter()
            .copied()
            .flatten()
            .for_each(|(name, _)| println!("{name}"));
        return Ok(());
    }
    let all = CASES
        .iter()
        .copied()
        .flatten()
        .chain(endings::CASES)
        .chain(reports::CASES);
    for (name, case) in all {
        if *name == wanted {
            case();
            return Ok(());
        }
    }
    Err("no such case; case=list prints the names")
}
