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

use alloc::{boxed::Box, format, string::String, vec::Vec};

use self::dormir::{Policy, Setting};
use ::dormir::platform::bare;
use dormir_guest::{args, console::report};
use load::Load;
use samples::{Cell, Path, Points};

dormir_guest::entry!(main);

fn main() -> Result<(), String> {
    let samples = number("samples", 2000)? as usize;
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
    let plain = embassy::Executor::new(load);
    let hooked = plain.beside();
    dormir::init();
    let setting = Setting {
        policy,
        load,
        stamps_wakes: false,
    };
    let mut cells = cells([&plain, &hooked], setting);
    cells.retain(|cell| paths.contains(&cell.path()));
    cells.iter_mut().for_each(Cell::warm_up);
    let block = block(load);
    loop {
        let mut is_done = true;
        for cell in &mut cells {
            let left = cell.left(samples, limit_ms);
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

/// Each runtime on each path, the floor first. Where wakes are stamped, polls come later for it: those are cells of
/// their own.
fn cells<'a>(embassy: [&'a embassy::Executor; 2], setting: Setting) -> Vec<Cell<'a>> {
    type Block<'a> = Box<dyn FnMut(usize) + 'a>;
    type Floor = fn(usize);
    type Dormir = fn(usize, Setting);
    type Embassy = fn(&embassy::Executor, usize);
    // Busy tasks wake themselves, so the last wake is not that of the task that is measured.
    let can_stamp_wakes = !setting.load.keeps_awake();
    let mut cells = Vec::new();
    let mut add = |path, floor: Floor, dormir: Dormir, of_embassy: Embassy| {
        let cell = |runtime, has_handler, has_wake, block: Block<'a>| {
            let points = Points {
                handler: has_handler && path != Path::Task,
                wake: has_wake,
            };
            Cell::new(path, runtime, points, block)
        };
        let sees_by_itself = path == Path::Deadline && !setting.needs_interrupt();
        cells.push(cell("floor", true, false, Box::new(floor)));
        for (stamps_wakes, executor) in [false, true].into_iter().zip(embassy) {
            if stamps_wakes && !can_stamp_wakes {
                continue;
            }
            let setting = Setting {
                stamps_wakes,
                ..setting
            };
            let names = match stamps_wakes {
                false => ["dormir", "embassy"],
                true => ["dormir+wake", "embassy+wake"],
            };
            cells.push(cell(
                names[0],
                !sees_by_itself,
                stamps_wakes,
                Box::new(move |rounds| dormir(rounds, setting)),
            ));
            cells.push(cell(
                names[1],
                true,
                stamps_wakes,
                Box::new(move |rounds| of_embassy(executor, rounds)),
            ));
        }
    };
    add(
        Path::Deadline,
        floor::sleep,
        dormir::sleep,
        embassy::Executor::sleep,
    );
    add(
        Path::Host,
        floor::sleep_until_host,
        dormir::sleep_until_host,
        embassy::Executor::sleep_until_host,
    );
    add(
        Path::Task,
        floor::stamp_twice,
        dormir::play,
        embassy::Executor::play,
    );
    cells
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
