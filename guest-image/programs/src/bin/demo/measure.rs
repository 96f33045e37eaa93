//! Measures what a demo costs, and reports it to the harness, which prints a table.

use core::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use dormir::{
    idle::{Halt, Metered},
    platform::bare,
    time::Instant,
};
use dormir_guest::console::report;

/// Runs a program that waits with the given policy, which halts, and reports what it cost.
pub(crate) fn napping<T>(program: impl FnOnce(&mut Metered<Halt>) -> T) -> T {
    let mut idle = Metered::new(Halt);
    let output = timed(|| program(&mut idle));
    report("halts", idle.waits());
    report("halted_ns", nanos(idle.waited()));
    output
}

/// Runs a program, and reports its duration, its timer interrupts and, if they were counted, its
/// polls.
pub(crate) fn timed<T>(program: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let interrupts = bare::timer_interrupts();
    let output = program();
    report(
        "elapsed_ns",
        nanos(Instant::now().saturating_duration_since(start)),
    );
    report("timer_interrupts", bare::timer_interrupts() - interrupts);
    let polls = POLLS.load(Ordering::Relaxed);
    if polls > 0 {
        report("polls", polls);
    }
    output
}

static POLLS: AtomicU64 = AtomicU64::new(0);

/// Counts a poll. As an executor's wake hook it counts wakes: there is one poll for each, as long
/// as no task is woken twice before it is polled.
pub(crate) fn count_poll() {
    POLLS.fetch_add(1, Ordering::Relaxed);
}

/// Awaits `future` and counts its polls.
pub(crate) async fn counted<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        count_poll();
        future.as_mut().poll(cx)
    })
    .await
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}
