//! The idle sweep: an interrupt comes at every single instruction of the idle path, and no wake may
//! be lost.
//!
//! Runs under QEMU's `-icount shift=0,sleep=off`, where the TSC and the local APIC's timer advance
//! by one per instruction. In step K the interrupt comes K instructions after it was armed, while
//! the real `block_on` returns from a poll, serves its timers, checks a last time and halts.
//!
//! `via=interrupt`: the local APIC's timer interrupts, and its handler wakes the task. `via=nmi`:
//! the same, delivered as an NMI, which nothing masks. `via=deadline`: the task waits for a dormir
//! timer whose deadline passes K instructions after it was made. `via=handler-timer`: the handler
//! wakes no task but moves a dormir timer of the task to a deadline earlier than all others.
//! With `then=interrupt|nmi` a second one follows: see [`pairs`].
//! `idle=` and `clock=` choose the real implementation or a mutant. `steps=` is the last step and
//! `from=` the first, if that is not 1; each prints one line: K, the interrupted address, and how
//! many instructions after the interrupt (or the deadline) the task was polled.
#![no_std]
#![no_main]

mod idle;
mod machine;
mod moved;
mod pair;
mod pairs;
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
        _ => return Err("missing via=interrupt|nmi|deadline|handler-timer"),
    };
    let stale_clock = match args::value("clock") {
        None => false,
        Some("no-look-after-arming") => true,
        Some(_) => return Err("no such clock"),
    };
    let wait = idle::by_name(args::value("idle").unwrap_or("halt")).ok_or("no such idle policy")?;
    if let Some(then) = args::value("then") {
        return pairs::sweep(via, then, wait);
    }
    let steps = match args::value("steps").map(str::parse) {
        Some(Ok(steps)) => steps,
        _ => return Err("missing steps=N, for example steps=1500"),
    };
    let from = match args::value("from").map(str::parse) {
        None => 1,
        Some(Ok(from)) => from,
        Some(Err(_)) => return Err("from= takes a number"),
    };
    machine::init(via, stale_clock)?;
    // The first step also runs code that runs only once; its result is not printed.
    step::run(via, steps, wait);
    for step in from..=steps {
        let outcome = step::run(via, step, wait);
        println!("{step} {:#x} {}", outcome.interrupted, outcome.late);
    }
    Ok(())
}
