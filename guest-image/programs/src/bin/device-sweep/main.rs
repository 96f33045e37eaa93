//! The device sweep: a device answers a request wherever interrupts are unmasked on a driver's path,
//! and no answer may be lost.
//!
//! Runs under QEMU's `-icount shift=0,sleep=off`, where the TSC and the local APIC's timer advance
//! by one per instruction. The driver is `dormir-virtio`'s, and the timer's interrupt handler is
//! its device: K instructions after the driver has sent a request, it fills the ring, and raises its
//! line if that is low. So it comes between "the ring looked empty" and `hlt`, and before and
//! after. When the request is sent, the line is high already, and the driver has yet to acknowledge
//! that: nothing but the driver's own order of acknowledging, listening and looking finds an answer
//! that comes in between.
//!
//! `mutant=` chooses a mistake ([`mutants`]). `steps=` is the number of steps; each prints one line:
//! K, the interrupted address, and how many instructions later the request had ended.
#![no_std]
#![no_main]

extern crate alloc;

mod device;
mod mutants;
mod steps;

use dormir_guest::{args, println};
use dormir_programs::machine;

dormir_guest::entry!(main, owns_machine);

fn main() -> Result<(), &'static str> {
    let steps = match args::value("steps").map(str::parse) {
        Some(Ok(steps)) => steps,
        _ => return Err("missing steps=N, for example steps=4000"),
    };
    mutants::choose(args::value("mutant"))?;
    machine::init()?;
    steps::init_timers()?;
    let rng = device::attach()?;
    // The first step also runs code that runs only once; its result is not printed.
    steps::run(&rng, steps)?;
    for step in 1..=steps {
        let outcome = steps::run(&rng, step)?;
        println!("{step} {:#x} {}", outcome.interrupted, outcome.late);
    }
    Ok(())
}
