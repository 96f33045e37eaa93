//! The device sweep: a device answers a request at every single instruction of a driver's path, and
//! no answer may be lost.
//!
//! Runs under QEMU's `-icount shift=0,sleep=off`, where the TSC and the local APIC's timer advance
//! by one per instruction. The driver is `dormir-virtio`'s, and the timer's interrupt handler is its
//! device: K instructions after the driver has sent the second of two requests, it fills the ring,
//! and raises its line if that is low. So it comes between "the ring looked empty" and `hlt`, and
//! at each instruction before and between. The first request is answered as the second is sent, so
//! its interrupt must be acknowledged on the way.
//!
//! `mutant=` chooses a mistake ([`mutants`]). `steps=` is the number of steps; each prints one line:
//! K, the interrupted address, and how many instructions later the second request had ended.
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
