//! Counts what runtimes cost, in instructions, case by case.
//!
//! Runs under QEMU's `-icount shift=0,sleep=off`, where the TSC counts instructions. `runtime=NAME`
//! chooses one runtime, `runtime=list` prints the names, and `max=N` leaves out what needs more
//! than N tasks or timers. Each figure is reported to the harness, see
//! [`dormir_bench_guest::figures`].
//!
//! A runtime is a module with a function `run`: it makes executors with room for N tasks and hands
//! them to the [`cases`], which are the same for all; and those with timers to the cases of
//! [`timers`].
#![no_std]
#![no_main]

extern crate alloc;

mod cases;
mod clock;
mod dormir;
mod edge;
mod embassy;
mod futures_unordered;
mod heap;
mod sleepers;
mod tasks;
mod timers;

use alloc::string::{String, ToString};

use ::dormir::platform::bare::{self, Config};
use dormir_bench_guest::stopwatch::Stopwatch;
use dormir_guest::{args, println};
use x86_64::instructions::interrupts;

dormir_guest::entry!(main, owns_machine);

/// With `-icount shift=0` an instruction takes 1 ns. Given as a constant, since measuring it would
/// take most of the run.
const TSC_HZ: u64 = 1_000_000_000;

/// A runtime's name, and the function that runs all its cases with at most a given number of tasks.
type Runtime = (&'static str, fn(&Stopwatch, usize));

const RUNTIMES: &[Runtime] = &[
    (dormir::NAME, dormir::run),
    (embassy::NAME, embassy::run),
    (edge::NAME, edge::run),
    (futures_unordered::NAME, futures_unordered::run),
    (heap::NAME, heap::run),
];

fn main() -> Result<(), String> {
    let wanted =
        args::value("runtime").ok_or("say which runtime: runtime=NAME, or runtime=list")?;
    if wanted == "list" {
        RUNTIMES.iter().for_each(|(name, _)| println!("{name}"));
        return Ok(());
    }
    let max = match args::value("max").map(str::parse) {
        None => usize::MAX,
        Some(Ok(max)) => max,
        Some(Err(_)) => return Err("say how many tasks at most: max=64".into()),
    };
    let runtime = RUNTIMES.iter().find(|(name, _)| *name == wanted);
    let (_, run) = runtime.ok_or("no such runtime; runtime=list prints the names")?;
    init_machine().map_err(|error| error.to_string())?;
    run(&Stopwatch::calibrated(), max);
    Ok(())
}

/// Sets up the machine as in every guest. Interrupts are unmasked, so that critical sections have
/// their usual cost, but no timer is armed, so that none arrives.
fn init_machine() -> Result<(), bare::InitError> {
    let config = Config::new().tsc_hz(TSC_HZ);
    // SAFETY: ring 0, the one vCPU, interrupts masked by the entry, whose tables are installed;
    // memory is mapped one to one, the APICs uncached; called once, and nothing else drives the
    // timers.
    unsafe { bare::init(config) }?;
    interrupts::enable();
    Ok(())
}
