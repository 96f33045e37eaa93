//! Runs the tasks in the storm, and looks at what it leaves.

use core::time::Duration;

use dormir::{
    executor::{Executor, Runner, Shared, Up64},
    idle::Halt,
    time::{Instant, TimerQueue},
};
use dormir_guest::{console::report, heap};

use crate::{Mutant, storm, tasks};

/// How deep the stack may be. It has 256 KiB.
const DEEPEST: u64 = 16 << 10;

static EXECUTOR: Executor<Up64> = Executor::new(Shared);

/// Runs the tasks in a storm of so many interrupts, or of this length.
pub(crate) fn run(interrupts: u32, most: Duration, is_busy: bool, mutant: Mutant) {
    let heap_used = heap::used();
    let stack = &raw const heap_used as u64;
    let mut runner = EXECUTOR.enter().expect("it is entered once");
    tasks::spawn(&runner.spawner(), is_busy, mutant);
    let start = Instant::now();
    storm::begin(interrupts, most, true);
    if mutant == Mutant::LateTimers {
        run_with_late_timers(&mut runner);
    } else {
        runner.run(Halt);
    }
    let nanos = start.elapsed().as_nanos() as u64;

    let (count, ended_halts) = storm::counts();
    assert!(count <= interrupts, "more interrupts than were armed");
    assert_eq!(heap::used(), heap_used, "the heap has grown");
    assert_eq!(
        TimerQueue::global().next_deadline(),
        Instant::NEVER,
        "timers are left"
    );
    let depth = stack.saturating_sub(storm::lowest_stack());
    assert!(depth < DEEPEST, "the stack is {depth} bytes deep");
    report("interrupts", count.into());
    report("watches", storm::watches().into());
    report("nanos", nanos);
    report("ended_halts", ended_halts.into());
    report("stack_bytes", depth);
    tasks::report_all();
}

fn run_with_late_timers(runner: &mut Runner<Up64>) {
    while EXECUTOR.tasks() != 0 {
        (0..16).for_each(|_| runner.pass());
        TimerQueue::global().turn();
    }
}
