//! Counts what a sleep costs: the real timer, the real loop, and a task that awaits a timer while
//! the vCPU halts.
//!
//! Without arguments it counts by itself, and must run under QEMU's `-icount shift=0,sleep=off`:
//! the instructions from the timer interrupt's first to the task's first ([`isr_to_poll`]), and
//! what timer slack saves ([`slack`]). `max=N` leaves out what needs more than N timers.
//!
//! With the argument `stepped` it must run under the harness's own VMM, which single-steps through
//! the sleeps and sees every instruction. `timer=SOURCE` selects the timer.
#![no_std]
#![no_main]

extern crate alloc;

mod entry;
mod executors;
mod isr_to_poll;
mod slack;
mod sleeper;
mod stepped;

use alloc::string::{String, ToString};

use dormir::{
    arch::x86_64::tsc,
    platform::bare::{self, Config, Machine, TimerSource},
};
use dormir_guest::args;

dormir_guest::entry!(main, owns_machine);

/// The runtime's name in the figures.
const NAME: &str = "dormir";

/// With `-icount shift=0` an instruction takes 1 ns.
const INSTRUCTIONS_HZ: u64 = 1_000_000_000;

fn main() -> Result<(), String> {
    if args::words().any(|word| word == "stepped") {
        let timer = args::value("timer").map(str::parse).transpose();
        let timer = timer.map_err(|error: bare::ParseTimerSourceError| error.to_string())?;
        // As the clock that counts under `-icount`: the TSC, and not pvclock.
        // SAFETY: ring 0, the one vCPU, interrupts masked by the entry, memory mapped one to one.
        let (tsc_hz, _) =
            unsafe { tsc::find_frequency() }.ok_or("the TSC's frequency is not known")?;
        let mut config = Config::new().tsc_hz(tsc_hz);
        config.timer = timer;
        let machine = init(config)?;
        stepped::run(machine);
        return Ok(());
    }
    let max = match args::value("max").map(str::parse) {
        None => usize::MAX,
        Some(Ok(max)) => max,
        Some(Err(_)) => return Err("say how many timers at most: max=64".into()),
    };
    let config = Config::new()
        .timer(TimerSource::Xapic)
        .tsc_hz(INSTRUCTIONS_HZ);
    let machine = init(config)?;
    isr_to_poll::run(machine, max);
    slack::run(machine, max);
    Ok(())
}

/// Sets up the machine as in every guest.
fn init(config: Config) -> Result<&'static Machine, String> {
    // SAFETY: ring 0, the one vCPU, interrupts masked by the entry, whose tables are installed;
    // memory is mapped one to one, the APICs uncached; called once, and nothing else drives the
    // timers.
    let machine = unsafe { bare::init(config) }.map_err(|error| error.to_string())?;
    x86_64::instructions::interrupts::enable();
    Ok(machine)
}
