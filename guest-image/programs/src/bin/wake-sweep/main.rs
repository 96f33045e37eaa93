//! The wake sweep: at every single instruction of wake, pass and idle check, an interrupt comes
//! whose handler wakes a task, and no wake may be lost.
//!
//! In a step, a task (the waker) arms the interrupt to come K instructions later, wakes other
//! tasks, and returns. The real [`Runner::run`](dormir::executor::Runner::run) continues: it polls
//! the other tasks, checks a last time and halts. At some instruction of this path the handler
//! wakes the victim, which must be polled soon after.
//!
//! `tasks=64|4096` and `cpus=` choose the executor; besides `shared` and `single` there are
//! [mutants](mutants) for `cpus`. `via=interrupt|nmi` selects how the interrupt is delivered, and
//! `wakes=` lists the victims: names from [`fixture`], separated by commas. `steps=` is the number
//! of steps for each. Each step prints one line: victim, K, the interrupted address, how many
//! instructions after the handler the victim was polled, and the number of spurious polls.
#![no_std]
#![no_main]

mod fixture;
mod mutants;
mod steps;
mod tasks;

use dormir::executor::{Capacity, Cpus, Executor, Shared, SingleVcpu, Up64, Up4096};
use dormir_guest::args;
use dormir_programs::machine::{self, Delivery};

use fixture::Fixture;
use mutants::{
    ClearInThree, ClearLate, RaiseIfWordWasEmpty, RaiseInThree, RaiseNotInHandlers, SetInThree,
    With,
};
use steps::SweepIdle;

dormir_guest::entry!(main, owns_machine);

fn main() -> Result<(), &'static str> {
    let delivery = match args::value("via") {
        Some("interrupt") => Delivery::Interrupt,
        Some("nmi") => Delivery::Nmi,
        _ => return Err("missing via=interrupt|nmi: how the interrupt is delivered"),
    };
    let steps = match args::value("steps").map(str::parse) {
        Some(Ok(steps)) => steps,
        _ => return Err("missing steps=N, for example steps=400"),
    };
    let wakes = args::value("wakes").ok_or("missing wakes=, for example wakes=itself,behind")?;
    let tasks = args::value("tasks").ok_or("missing tasks=64|4096: the executor's size")?;
    let cpus = args::value("cpus").ok_or("missing cpus=shared|single: how words are changed")?;
    machine::init()?;
    machine::aim(delivery);
    x86_64::instructions::interrupts::enable();

    macro_rules! sweep {
        ($($name:literal: $type:ty = $cpus:expr;)*) => {
            match (tasks, cpus) {
                $(("64", $name) => {
                    static EXECUTOR: Executor<Up64, $type> = Executor::new($cpus);
                    sweep(&EXECUTOR, &fixture::ONE_WORD, wakes, steps)
                })*
                $(("4096", $name) => {
                    static EXECUTOR: Executor<Up4096, $type> = Executor::new($cpus);
                    sweep(&EXECUTOR, &fixture::TWO_LEVELS, wakes, steps)
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

/// Sweeps once for each name in `wakes`. It ends the guest itself, since its tasks never complete.
fn sweep<C: Capacity, M: Cpus>(
    executor: &'static Executor<C, M>,
    fixture: &'static Fixture,
    wakes: &'static str,
    steps: u32,
) -> Result<(), &'static str> {
    if wakes.split(',').any(|name| fixture.victim(name).is_none()) {
        return Err("no such task to wake");
    }
    let mut runner = executor
        .enter()
        .map_err(|_| "the executor was entered twice")?;
    let spawner = runner.spawner();
    for slot in 0..fixture.slots {
        let spawned = if slot == fixture.waker {
            spawner.spawn_detached(tasks::waking(fixture)).is_ok()
        } else {
            spawner.spawn_detached(tasks::watched(slot)).is_ok()
        };
        assert!(spawned, "there is room for task {slot}");
    }
    // Polls each of them once.
    runner.pass();
    tasks::check_slots(fixture);
    runner.run(SweepIdle::new(fixture, wakes, steps));
    Err("the tasks have completed, although none ever should")
}
