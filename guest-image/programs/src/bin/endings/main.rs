//! Guests whose end the host judges: exits, panics, faults, hangs; `case=NAME` chooses one.
//!
//! What passes or fails by itself is a test in a guest: see the package `cases`.
#![no_std]
#![no_main]

extern crate alloc;

mod console;
mod faults;
mod hangs;
mod panics;
mod reports;

use dormir_guest::args;

dormir_guest::entry!(main);

type Case = (&'static str, fn());

const CASES: [&[Case]; 5] = [
    console::CASES,
    faults::CASES,
    hangs::CASES,
    panics::CASES,
    reports::CASES,
];

fn main() -> Result<(), &'static str> {
    let wanted = args::value("case").ok_or("missing case=NAME")?;
    let mut cases = CASES.into_iter().flatten();
    let (_, case) = cases
        .find(|(name, _)| *name == wanted)
        .ok_or("no such case")?;
    case();
    Ok(())
}
