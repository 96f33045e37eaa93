//! How late a task is polled: from a deadline, or from another task's wake, to the poll, under dormir, under
//! embassy-executor and, as the floor beneath both, with nothing but `sti; hlt`.
//!
//! `timer=` chooses the timer, `samples=N` how many samples each cell takes, `limit_ms=N` how long a cell
//! may take for them, `interval_us=N` how far ahead the deadlines are, `idle=halt|adaptive|spin` how dormir
//! waits. The runtimes take turns, a block of
//! rounds each, so what changes in the host meanwhile meets all of them alike. What they report: see
//! [`samples`].
#![no_std]
#![no_main]

extern crate alloc;

mod dormir;
mod embassy;
mod floor;
mod machine;
mod players;
mod samples;
mod stamps;

use alloc::{format, string::String};

use self::dormir::Policy;
use ::dormir::platform::bare;
use dormir_guest::{args, console::report};
use samples::{Cell, Path};

dormir_guest::entry!(main);

/// How many rounds a runtime has before the next one has its turn.
const BLOCK: usize = 50;

fn main() -> Result<(), String> {
    let samples = number("samples", 2000)?;
    let limit_ms = number("limit_ms", 10_000)?;
    let policy = args::value("idle").unwrap_or("halt");
    let policy = Policy::named(policy).ok_or("idle= is one of halt, adaptive, spin")?;
    machine::start(number("interval_us", 1000)?)?;
    let machine = bare::machine().ok_or("the machine is not set up")?;
    report(&format!("source/{}", machine.timer), 1);
    report("tsc_hz", machine.tsc_hz);

    let embassy = embassy::Executor::new();
    dormir::init();
    let mut cells = [
        Cell::new(Path::Deadline, "floor", floor::sleep),
        Cell::new(Path::Deadline, "dormir", |rounds| {
            dormir::sleep(rounds, policy)
        })
        .with_handler(policy == Policy::Halt),
        Cell::new(Path::Deadline, "embassy", |rounds| embassy.sleep(rounds)),
        Cell::new(Path::Task, "floor", floor::stamp_twice),
        Cell::new(Path::Task, "dormir", dormir::play),
        Cell::new(Path::Task, "embassy", |rounds| embassy.play(rounds)),
    ];
    cells.iter_mut().for_each(Cell::warm_up);
    loop {
        let mut is_done = true;
        for cell in &mut cells {
            let left = cell.left(samples as usize, limit_ms);
            if left > 0 {
                is_done = false;
                cell.go_on(BLOCK.min(left));
            }
        }
        if is_done {
            break;
        }
    }
    cells.iter().for_each(Cell::report);
    Ok(())
}

/// The number behind `name=`.
fn number(name: &str, default: u64) -> Result<u64, String> {
    let given = args::value(name).map_or(Ok(default), str::parse);
    given
        .ok()
        .filter(|&number| number > 0)
        .ok_or_else(|| format!("{name}= takes a whole number from 1 on"))
}
