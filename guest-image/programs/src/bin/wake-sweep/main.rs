//! The sweep over wake, pass and idle check: an interrupt whose handler wakes a task, at every single
//! instruction of them, and no lost wake.
//!
//! A step: a task arms the interrupt to come K instructions later, wakes others itself, and returns. The
//! real [`Runner::run`](dormir::executor::Runner::run) goes on from there: it polls those others, looks
//! a last time and halts. Somewhere on the way the handler wakes the victim, which must be polled soon
//! after.
//!
//! `tasks=64|4096` and `cpus=` choose the executor; besides `shared` and `single` there are
//! [mutants](mutants) for `cpus`. `via=interrupt|nmi` says how the interrupt is delivered, `wakes=` whom
//! its handler wakes: names of [`cast`] with commas between them. `steps=` says how many steps each of
//! them takes; each prints one line: victim, K, the interrupted address, how many instructions after the
//! handler the victim was polled, and how many polls nobody had woken for.
#![no_std]
#![no_main]

mod cast;
mod mutants;
mod steps;
mod tasks;

use dormir::executor::{Capacity, Cpus, Executor, Shared, SingleVcpu, Up64, Up4096};
use dormir_guest::args;
use dormir_programs::machine::{self, Delivery};

use cast::Cast;
use mutants::{
    ClearInThree, ClearLate, RaiseIfWordWasEmpty, RaiseInThree, RaiseNotInHandlers, SetInThree,
    With,
};
use steps::Steps;

dormir_guest::entry!(main, owns_machine);

fn main() -> Result<(), &'static str> {
    let delivery = match args::value("via") {
        Some("interrupt") => Delivery::Interrupt,
        Some("nmi") => Delivery::Nmi,
        _ => return Err("say what interrupts: via=interrupt|nmi"),
    };
    let steps = match args::value("steps").map(str::parse) {
        Some(Ok(steps)) => steps,
        _ => return Err("say how many steps: steps=400"),
    };
    let wakes = args::value("wakes").ok_or("say whom the handler wakes: wakes=itself,behind")?;
    let tasks = args::value("tasks").ok_or("say how large the executor is: tasks=64|4096")?;
    let cpus = args::value("cpus").ok_or("say how its words are changed: cpus=shared|single")?;
    machine::init()?;
    machine::aim(delivery);
    x86_64::instructions::interrupts::enable();

    macro_rules! sweep {
        ($($name:literal: $type:ty = $cpus:expr;)*) => {
            match (tasks, cpus) {
                $(("64", $name) => {
                    static EXECUTOR: Executor<Up64, $type> = Executor::new($cpus);
                    sweep(&EXECUTOR, &cast::ONE_WORD, wakes, steps)
                })*
                $(("4096", $name) => {
                    static EXECUTOR: Executor<Up4096, $type> = Executor::new($cpus);
                    sweep(&EXECUTOR, &cast::TWO_LEVELS, wakes, steps)
                })*
                _ => Err("no such executor"),
            }
        };
    }
    sweep! {
        "shared": Shared = Shared;
        // SAFETY: the guest has one vCPU.
        "single": SingleVcpu = unsafe { SingleVcpu::new() };
        "clear-in-three": With<ClearInThree> = With(ClearInThree);
        "clear-late": With<ClearLate> = With(ClearLate);
        "set-in-three": With<SetInThree> = With(SetInThree);
        "raise-in-three": With<RaiseInThree> = With(RaiseInThree);
        "raise-not-in-handlers": With<RaiseNotInHandlers> = With(RaiseNotInHandlers);
        "raise-if-word-was-empty": With<RaiseIfWordWasEmpty> = With(RaiseIfWordWasEmpty);
    }
}

/// Sweeps once for each name in `wakes`. It ends the guest, since the tasks of the steps do not end.
fn sweep<C: Capacity, M: Cpus>(
    executor: &'static Executor<C, M>,
    cast: &'static Cast,
    wakes: &'static str,
    steps: u32,
) -> Result<(), &'static str> {
    if wakes.split(',').any(|name| cast.victim(name).is_none()) {
        return Err("no such task to wake");
    }
    let mut runner = executor
        .enter()
        .map_err(|_| "the executor was entered twice")?;
    let spawner = runner.spawner();
    for place in 0..cast.places {
        let spawned = if place == cast.lead {
            spawner.spawn_detached(tasks::lead(cast)).is_ok()
        } else {
            spawner.spawn_detached(tasks::watched(place)).is_ok()
        };
        assert!(spawned, "there is room for task {place}");
    }
    // Polls each of them once.
    runner.pass();
    cast.check_places();
    runner.run(Steps::new(cast, wakes, steps));
    Err("the tasks have ended, which none of them does")
}
