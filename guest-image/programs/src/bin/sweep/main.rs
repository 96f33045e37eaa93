//! The sweep over the idle path: an interrupt at every single instruction of it, and no lost wake.
//!
//! Runs under QEMU's `-icount shift=0,sleep=off`, where the TSC and the local APIC's timer count one
//! for each instruction. Step K has the interrupt come K instructions after it was armed, while the
//! real `block_on` returns from a poll, turns its timers, looks a last time and halts.
//!
//! `via=interrupt`: the local APIC's timer interrupts, and its handler wakes the task. `via=nmi`: the
//! same, delivered as an NMI, which nothing masks. `via=deadline`: the task waits for a dormir timer
//! whose deadline passes K instructions after it was made. `via=handler-timer`: the handler wakes nobody
//! but moves a dormir timer of the task to an earlier deadline than all others. `idle=` and `clock=` choose the real thing
//! or a mutant. `steps=` says how many steps; each prints one line: K, the interrupted address, and
//! how many instructions later the task was polled (where it waits for a deadline: after that).
#![no_std]
#![no_main]

mod idle;
mod machine;
mod moved;
mod step;

use dormir_guest::{args, println};
use dormir_programs::machine::Delivery;
use machine::Via;

dormir_guest::entry!(main, owns_machine);

fn main() -> Result<(), &'static str> {
    let via = match args::value("via") {
        Some("interrupt") => Via::Hit(Delivery::Interrupt),
        Some("nmi") => Via::Hit(Delivery::Nmi),
        Some("deadline") => Via::Deadline,
        Some("handler-timer") => Via::HandlerTimer,
        _ => return Err("say what interrupts: via=interrupt|nmi|deadline|handler-timer"),
    };
    let stale_clock = match args::value("clock") {
        None => false,
        Some("no-look-after-arming") => true,
        Some(_) => return Err("no such clock"),
    };
    let steps = match args::value("steps").map(str::parse) {
        Some(Ok(steps)) => steps,
        _ => return Err("say how many steps: steps=1500"),
    };
    let wait = idle::by_name(args::value("idle").unwrap_or("halt")).ok_or("no such idle policy")?;
    machine::init(via, stale_clock)?;
    // The first step takes other ways through code that runs once; it is not one of those counted.
    step::run(via, steps, wait);
    for step in 1..=steps {
        let outcome = step::run(via, step, wait);
        println!("{step} {:#x} {}", outcome.interrupted, outcome.late);
    }
    Ok(())
}
