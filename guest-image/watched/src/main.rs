//! A guest program with a watchdog; `case=NAME` chooses what its task does. A test looks for the
//! lines that are marked with the case's name.
#![no_std]
#![no_main]

use core::time::Duration;

use dormir::{
    block_on,
    executor::{Executor, SingleVcpu, Up64, yield_now},
    idle::Halt,
    platform::bare,
    tasks,
    time::{Instant, Timer},
};
use dormir_guest::{
    AtStall::{self, Continue, End},
    args, console, println, start_watchdog,
};

dormir_guest::entry!(main);

/// What a case's task calls, and what the watchdog does.
type Case = (&'static str, Duration, AtStall, fn());

const CASES: [Case; 9] = [
    ("loops", millis(500), End, loops),
    ("hangs", millis(500), Continue, loops),
    ("blocks", millis(500), End, blocks),
    (
        "critical-section",
        millis(250),
        End,
        holds_a_critical_section,
    ),
    ("goes-on", millis(250), Continue, || works(millis(700))),
    ("idles", millis(1000), End, || {
        // Within its poll.
        block_on(async { embassy_time::Timer::after_secs(3).await }, Halt);
    }),
    ("yields", millis(1000), End, || {
        // In many polls, of a loop within its poll.
        run(works_and_yields(millis(20), 150), &INNER);
    }),
    ("waits", millis(1000), End, || ()),
    ("no-limit", Duration::MAX, End, || works(millis(1000))),
];

// SAFETY: this guest has one vCPU.
static EXECUTOR: Executor<Up64, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });
// SAFETY: the same.
static INNER: Executor<Up64, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

tasks! {
    /// Calls the case's function in its second poll.
    async fn calls(function: fn()), pool = 1 {
        yield_now().await;
        function();
        Timer::after(millis(1)).await;
    }

    async fn works_and_yields(length: Duration, times: u32), pool = 1 {
        for _ in 0..times {
            works(length);
            yield_now().await;
        }
    }

    /// Waits, with few timers of two kinds.
    async fn waits(), pool = 1 {
        for _ in 0..4 {
            Timer::after(millis(400)).await;
            embassy_time::Timer::after_millis(400).await;
        }
    }
}

fn main() -> Result<(), &'static str> {
    let name = args::value("case").ok_or("missing case=NAME")?;
    let case = CASES.iter().find(|(known, ..)| *known == name);
    let (_, limit, at_stall, function) = case.ok_or("no such case")?;
    start_watchdog(*limit, *at_stall);
    run(calls(*function), &EXECUTOR);
    let before = bare::timer_interrupts();
    run(waits(), &EXECUTOR);
    console::report("interrupts", bare::timer_interrupts() - before);
    println!("done");
    Ok(())
}

fn run<F>(task: dormir::executor::Task<F>, executor: &'static Executor<Up64, SingleVcpu>)
where
    F: Future<Output = ()> + 'static,
{
    let mut runner = executor.enter().expect("there is no other runner");
    let spawned = runner.spawner().spawn_detached(task);
    spawned.expect("there is room");
    runner.run(Halt);
}

const fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

#[inline(never)]
fn works(length: Duration) {
    let start = Instant::now();
    let must_work = || start.elapsed() < length; // goes-on
    while must_work() {
        core::hint::spin_loop(); // goes-on
    }
}

#[inline(never)]
fn loops() {
    loop {
        core::hint::spin_loop(); // loops hangs
    }
}

#[inline(never)]
fn holds_a_critical_section() {
    // The watchdog looks a first time.
    works(millis(100));
    critical_section::with(|_| works(millis(500))); // critical-section
    // The interrupt comes at the section's end, an instruction later or two.
    loops(); // critical-section
}

/// Loops in the future of a `block_on`.
#[inline(never)]
fn blocks() {
    block_on(async { loops() }, Halt); // blocks
}
