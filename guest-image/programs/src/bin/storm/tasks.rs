//! The tasks in the storm, and what is asked of them.
//!
//! Lateness is counted, not measured. A task that is polled when the alarm has interrupted after a
//! sleeper's deadline may be polled so twice before the sleeper: in the pass that is under way, and
//! in the next one before the sleeper's turn. From a signal to its receiver's poll each other
//! receiver is polled twice at most, for the same reason. The storm's interrupts between a deadline
//! and the sleeper's poll are reported.

extern crate alloc;

use alloc::boxed::Box;
use core::{
    array,
    future::Future,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    task::{Context, Waker},
    time::Duration,
};

use dormir::{
    Event,
    executor::{Spawner, yield_now},
    platform::bare,
    tasks,
    time::{Instant, Timer},
};
use dormir_guest::console::report;

use crate::Mutant;

const SLEEPERS: usize = 8;
pub(crate) const RECEIVERS: usize = 4;
/// Those, one that uses the heap, and one that is always ready.
const TASKS: usize = SLEEPERS + RECEIVERS + 2;
const HEAP_USER: usize = SLEEPERS + RECEIVERS;
const YIELDER: usize = HEAP_USER + 1;

static IS_OVER: AtomicBool = AtomicBool::new(false);

/// How often each task has got what it waits for, and how often when the watch last looked.
static PROGRESS: [AtomicU32; TASKS] = [const { AtomicU32::new(0) }; TASKS];
static SEEN: [AtomicU32; TASKS] = [const { AtomicU32::new(0) }; TASKS];

static EVENTS: [Event; RECEIVERS] = [const { Event::new() }; RECEIVERS];
static SIGNALS_SENT: AtomicU32 = AtomicU32::new(0);
static SIGNALS_TAKEN: AtomicU32 = AtomicU32::new(0);
/// Polls of receivers, and their number, plus one, when a receiver was signalled; 0 if it was not.
static POLLS: AtomicU32 = AtomicU32::new(0);
static SIGNALLED_AT: [AtomicU32; RECEIVERS] = [const { AtomicU32::new(0) }; RECEIVERS];
static MOST_POLLS: AtomicU32 = AtomicU32::new(0);

/// The deadlines of sleepers; 0 for none.
static DEADLINES: [AtomicU64; SLEEPERS] = [const { AtomicU64::new(0) }; SLEEPERS];
/// How often each receiver, and the task that is always ready, was polled although the alarm had
/// interrupted after a sleeper's deadline.
static OVERDUE: [[AtomicU32; RECEIVERS + 1]; SLEEPERS] =
    [const { [const { AtomicU32::new(0) }; RECEIVERS + 1] }; SLEEPERS];
static MOST_OVERDUE: AtomicU32 = AtomicU32::new(0);
/// The storm's interrupts since a sleeper's deadline.
static LATE: [AtomicU32; SLEEPERS] = [const { AtomicU32::new(0) }; SLEEPERS];
static MOST_LATE: AtomicU32 = AtomicU32::new(0);

/// Signals a receiver. For the handler.
pub(crate) fn signal(receiver: usize) {
    EVENTS[receiver].signal();
    SIGNALS_SENT.fetch_add(1, Ordering::Relaxed);
    if SIGNALLED_AT[receiver].load(Ordering::Relaxed) == 0 {
        let polls = POLLS.load(Ordering::Relaxed);
        SIGNALLED_AT[receiver].store(polls + 1, Ordering::Relaxed);
    }
}

/// Counts the interrupt for each sleeper whose deadline has passed. For the handler.
pub(crate) fn count_interrupt() {
    let now = Instant::now();
    count_overdue(now, |sleeper| &LATE[sleeper]);
}

/// Counts for each sleeper whose deadline is not after `at`.
fn count_overdue(at: Instant, counter: impl Fn(usize) -> &'static AtomicU32) {
    for (sleeper, deadline) in DEADLINES.iter().enumerate() {
        let deadline = deadline.load(Ordering::Relaxed);
        if deadline != 0 && deadline <= at.as_nanos() {
            counter(sleeper).fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Counts a signal, and sends none.
pub(crate) fn forget_signal() {
    SIGNALS_SENT.fetch_add(1, Ordering::Relaxed);
}

/// Panics if a task has made no progress since the last call. For the handler.
pub(crate) fn watch(interrupts: u32) {
    for (task, (progress, seen)) in PROGRESS.iter().zip(&SEEN).enumerate() {
        let now = progress.load(Ordering::Relaxed);
        assert!(
            seen.swap(now, Ordering::Relaxed) != now,
            "task {task} starved: no progress during {interrupts} interrupts"
        );
    }
}

/// Makes the tasks end. For the handler.
pub(crate) fn end() {
    IS_OVER.store(true, Ordering::Relaxed);
    (0..RECEIVERS).for_each(signal);
}

fn is_over() -> bool {
    IS_OVER.load(Ordering::Relaxed)
}

fn progress(task: usize) {
    PROGRESS[task].fetch_add(1, Ordering::Relaxed);
}

tasks! {
    async fn sleeper(number: usize), pool = SLEEPERS {
        // From 100 µs to 0.9 ms, no two with a common factor.
        let period = Duration::from_micros([101, 211, 307, 401, 503, 601, 701, 809][number]);
        while !is_over() {
            let deadline = Instant::now().saturating_add(period);
            DEADLINES[number].store(deadline.as_nanos(), Ordering::Relaxed);
            Timer::at(deadline).await;
            assert!(Instant::now() >= deadline, "sleeper {number} ended early");
            DEADLINES[number].store(0, Ordering::Relaxed);
            for overdue in &OVERDUE[number] {
                let times = overdue.swap(0, Ordering::Relaxed);
                MOST_OVERDUE.fetch_max(times, Ordering::Relaxed);
                assert!(times <= 2, "sleeper {number} is late by {times} polls of another");
            }
            MOST_LATE.fetch_max(LATE[number].swap(0, Ordering::Relaxed), Ordering::Relaxed);
            progress(number);
        }
    }

    async fn receiver(number: usize, is_greedy: bool), pool = RECEIVERS {
        let event = &EVENTS[number];
        loop {
            let wait = event.wait().expect("one task waits");
            let mut taken = wait.await;
            let since = critical_section::with(|_| {
                taken += event.take();
                SIGNALLED_AT[number].swap(0, Ordering::Relaxed)
            });
            SIGNALS_TAKEN.fetch_add(taken, Ordering::Relaxed);
            if since != 0 {
                let polls = POLLS.load(Ordering::Relaxed) + 1 - since;
                MOST_POLLS.fetch_max(polls, Ordering::Relaxed);
                let most = 2 * (RECEIVERS as u32 - 1);
                assert!(polls <= most, "receiver {number} waited for {polls} polls of others");
            }
            progress(SLEEPERS + number);
            while is_greedy && !is_over() {
                SIGNALS_TAKEN.fetch_add(event.take(), Ordering::Relaxed);
            }
            if is_over() {
                SIGNALS_TAKEN.fetch_add(event.take(), Ordering::Relaxed);
                break;
            }
            yield_now().await;
            POLLS.fetch_add(1, Ordering::Relaxed);
            count_poll(number);
        }
    }

    async fn heap_user(), pool = 1 {
        while !is_over() {
            // One that expires, and one that is dropped.
            let nap = Box::pin(Timer::after(Duration::from_micros(500)));
            let mut dropped = Box::pin(Timer::after(Duration::from_secs(60)));
            let polled = dropped.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending());
            nap.await;
            progress(HEAP_USER);
        }
    }

    async fn yielder(is_busy: bool), pool = 1 {
        while !is_over() {
            if is_busy {
                yield_now().await;
                count_poll(RECEIVERS);
            } else {
                Timer::after(Duration::from_millis(1)).await;
            }
            progress(YIELDER);
        }
    }
}

/// Once in each poll of such a task at most.
fn count_poll(column: usize) {
    let clock = bare::clock().expect("the machine is set up");
    let alarm = clock.at(bare::last_timer_interrupt());
    count_overdue(alarm, |sleeper| &OVERDUE[sleeper][column]);
}

/// Spawns them.
pub(crate) fn spawn(spawner: &Spawner, is_busy: bool, mutant: Mutant) {
    for number in 0..RECEIVERS {
        let is_greedy = mutant == Mutant::Greedy && number == 0;
        let spawned = spawner.spawn_detached(receiver(number, is_greedy));
        assert!(spawned.is_ok());
    }
    assert!(spawner.spawn_detached(heap_user()).is_ok());
    assert!(spawner.spawn_detached(yielder(is_busy)).is_ok());
    for number in 0..SLEEPERS {
        assert!(spawner.spawn_detached(sleeper(number)).is_ok());
    }
}

/// Checks and reports what they have done, at their end.
pub(crate) fn report_all() {
    let [sent, taken] = [&SIGNALS_SENT, &SIGNALS_TAKEN].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(taken, sent, "signals that were taken, and sent");
    report("most_overdue", MOST_OVERDUE.load(Ordering::Relaxed).into());
    report("most_late", MOST_LATE.load(Ordering::Relaxed).into());
    report("most_polls", MOST_POLLS.load(Ordering::Relaxed).into());
    let progress: [u32; TASKS] = array::from_fn(|task| PROGRESS[task].load(Ordering::Relaxed));
    dormir_guest::println!("progress: {progress:?}");
    report(
        "least_progress",
        progress.into_iter().min().unwrap_or(0).into(),
    );
}
