//! How late a task is polled: from a deadline, from an interrupt that the host injects, or from another task's
//! wake, to the poll; under dormir, under embassy-executor and, as the floor beneath both, with nothing but
//! `sti; hlt`.
//!
//! | argument | what it says |
//! | --- | --- |
//! | `timer=` | the timer, as in every guest |
//! | `paths=deadline,host,task` | by which ways tasks are woken (without it: `deadline,task`) |
//! | `samples=N`, `limit_ms=N` | how many samples each cell takes, and how long it may take for them |
//! | `interval_us=N` | how far ahead a deadline is, at least |
//! | `idle=halt\|adaptive\|spin` | how dormir waits |
//! | `load=none\|sleepers-N\|busy-N` | what else dormir and embassy have to do |
//!
//! The runtimes take turns, a block of rounds each, so what changes in the host meanwhile meets all of them
//! alike. What they report: see [`samples`].
#![no_std]
#![no_main]

extern crate alloc;

mod dormir;
mod embassy;
mod floor;
mod host;
mod load;
mod machine;
mod players;
mod rounds;
mod samples;
mod stamps;
mod turn;

use alloc::{format, string::String, vec::Vec};

use self::dormir::{Policy, Setting};
use ::dormir::platform::bare;
use dormir_guest::{args, console::report};
use load::Load;
use samples::{Cell, Path, Points};

dormir_guest::entry!(main);

fn main() -> Result<(), String> {
    let samples = number("samples", 2000)?;
    let limit_ms = number("limit_ms", 10_000)?;
    let paths = paths()?;
    let policy = args::value("idle").unwrap_or("halt");
    let policy = Policy::named(policy).ok_or("idle= is one of halt, adaptive, spin")?;
    let load = Load::named(args::value("load").unwrap_or("none"))?;
    machine::start(number("interval_us", 1000)?)?;
    let machine = bare::machine().ok_or("the machine is not set up")?;
    report(&format!("source/{}", machine.timer), 1);
    report("tsc_hz", machine.tsc_hz);

    let by_host = paths.contains(&Path::Host);
    let uncertainty = if by_host { host::uncertainty()? } else { 0 };
    let embassy = embassy::Executor::new(load);
    dormir::init();
    let mut cells = cells(&embassy, Setting { policy, load });
    cells.retain(|cell| paths.contains(&cell.path()));
    cells.iter_mut().for_each(Cell::warm_up);
    let block = block(load);
    loop {
        let mut is_done = true;
        for cell in &mut cells {
            let left = cell.left(samples as usize, limit_ms);
            if left > 0 {
                is_done = false;
                cell.go_on(block.min(left));
            }
        }
        if is_done {
            break;
        }
    }
    if by_host {
        // The counters may have moved against each other meanwhile.
        let ticks = uncertainty.max(host::uncertainty()?);
        let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(machine.tsc_hz);
        report("host/uncertainty_ns", nanos as u64);
    }
    cells.iter().for_each(Cell::report);
    Ok(())
}

/// How many rounds a runtime has before the next one has its turn. dormir's sleepers are made anew in each turn,
/// so there it is longer.
fn block(load: Load) -> usize {
    match load {
        Load::None | Load::Busy(_) => 50,
        Load::Sleepers(_) => 500,
    }
}

/// Each runtime on each path, the floor first.
fn cells(embassy: &embassy::Executor, setting: Setting) -> Vec<Cell<'_>> {
    let floor = Points {
        handler: true,
        wake: false,
    };
    // Busy tasks wake themselves, so the last wake is not that of the task that is measured.
    let awake = setting.load.keeps_awake();
    let runtime = Points {
        handler: true,
        wake: !awake,
    };
    let of_dormir = Points {
        handler: setting.needs_interrupt(),
        ..runtime
    };
    let by_task = |points| Points {
        handler: false,
        ..points
    };
    alloc::vec![
        Cell::new(Path::Deadline, "floor", floor, floor::sleep),
        Cell::new(Path::Deadline, "dormir", of_dormir, move |rounds| {
            dormir::sleep(rounds, setting)
        }),
        Cell::new(Path::Deadline, "embassy", runtime, |rounds| {
            embassy.sleep(rounds)
        }),
        Cell::new(Path::Host, "floor", floor, floor::sleep_until_host),
        Cell::new(Path::Host, "dormir", runtime, move |rounds| {
            dormir::sleep_until_host(rounds, setting)
        }),
        Cell::new(Path::Host, "embassy", runtime, |rounds| {
            embassy.sleep_until_host(rounds)
        }),
        Cell::new(Path::Task, "floor", by_task(floor), floor::stamp_twice),
        Cell::new(Path::Task, "dormir", by_task(runtime), move |rounds| {
            dormir::play(rounds, setting)
        }),
        Cell::new(Path::Task, "embassy", by_task(runtime), |rounds| {
            embassy.play(rounds)
        }),
    ]
}

/// The paths that are asked for.
fn paths() -> Result<Vec<Path>, String> {
    let names = args::value("paths").unwrap_or("deadline,task").split(',');
    let paths: Option<Vec<Path>> = names.map(Path::named).collect();
    paths.ok_or_else(|| "paths= is one or more of deadline, host, task, with commas between".into())
}

/// The number behind `name=`.
fn number(name: &str, default: u64) -> Result<u64, String> {
    let given = args::value(name).map_or(Ok(default), str::parse);
    given
        .ok()
        .filter(|&number| number > 0)
        .ok_or_else(|| format!("{name}= takes a whole number from 1 on"))
}
