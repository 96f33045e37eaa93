//! A storm of interrupts, while tasks sleep, wait for signals and yield: none starves, no signal is
//! lost, and nothing grows.
//!
//! Of the PIT and the local APIC's timer, one is dormir's alarm, as `timer=` says, and the other
//! storms. `interrupts=N` is the number of interrupts and `seconds=S` ends them earlier; `busy=yes`
//! adds a task that is always ready, so that the vCPU never halts. The storm begins with an
//! interrupt each 9.4 µs; where tasks have less than half of the time then, the period is doubled
//! until they have it. `mutant=` is a mistake that must be found: see [`storm`] and [`tasks`].
#![no_std]
#![no_main]

mod both;
mod run;
mod source;
mod storm;
mod tasks;

use core::time::Duration;

use dormir_guest::args;

dormir_guest::entry!(main);

/// Mistakes in this program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mutant {
    None,
    /// The storm's handler unmasks interrupts before it returns.
    Nested,
    /// A task takes signals for as long as they come.
    Greedy,
    /// The run loop serves timers after every sixteenth pass.
    LateTimers,
    /// The handler leaves out a signal.
    Forgetful,
}

fn main() -> Result<(), &'static str> {
    let interrupts = match args::value("interrupts").map(str::parse) {
        Some(Ok(interrupts)) => interrupts,
        _ => return Err("missing interrupts=N, for example interrupts=100000"),
    };
    let most = match args::value("seconds").map(str::parse) {
        None => Duration::MAX,
        Some(Ok(seconds)) => Duration::from_secs(seconds),
        Some(Err(_)) => return Err("seconds= takes a number"),
    };
    let mutant = match args::value("mutant") {
        None => Mutant::None,
        Some("nested") => Mutant::Nested,
        Some("greedy") => Mutant::Greedy,
        Some("late-timers") => Mutant::LateTimers,
        Some("forgetful") => Mutant::Forgetful,
        Some(_) => return Err("no such mutant"),
    };
    let is_busy = args::value("busy") == Some("yes");
    source::choose()?;
    both::fire();
    storm::install(mutant);
    storm::find_period()?;
    run::run(interrupts, most, is_busy, mutant);
    Ok(())
}
