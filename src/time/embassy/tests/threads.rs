//! Several threads schedule wakes while another one turns the queue.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Wake, Waker},
    thread,
    time::Duration,
};

use super::table;
use crate::{
    block_on,
    executor::{Executor, Shared, Up64, yield_now},
    idle::{Idle, IdleContext},
    platform::host::{self, VirtualClock},
    tasks,
    test_support::{alone, leak},
    time::{
        Instant, Served, TimerQueue,
        embassy::{PACE, slot::DeadlineSlot},
        pause,
        testing::queue,
    },
};

const ROUNDS: u64 = if cfg!(miri) { 20 } else { 2000 };
const THREADS: usize = 3;

/// A waker that unparks a thread.
struct Unpark {
    thread: thread::Thread,
    woken: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// Counts a thread that has ended, also by a panic.
struct Leaving<'a>(&'a AtomicUsize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The thread that turns the queue also calls `look`. Each other thread calls `ask` with its number
/// and waits for its wake, until its deadline has passed.
fn all_are_woken(
    queue: &'static TimerQueue,
    clock: &'static VirtualClock,
    ask: impl Fn(usize, Instant, &Waker) + Sync,
    look: impl Fn(),
) {
    let (left, ask) = (&AtomicUsize::new(THREADS), &ask);
    thread::scope(|scope| {
        for number in 0..THREADS {
            scope.spawn(move || {
                let _leaving = Leaving(left);
                let unpark = Arc::new(Unpark {
                    thread: thread::current(),
                    woken: AtomicBool::new(false),
                });
                let waker = Waker::from(unpark.clone());
                for round in 0..ROUNDS {
                    let nanos = 1 + (round * 7 + number as u64) % 20;
                    let deadline = queue.now().saturating_add(Duration::from_nanos(nanos));
                    while queue.now() < deadline {
                        unpark.woken.store(false, Ordering::SeqCst);
                        ask(number, deadline, &waker);
                        // The limit detects a lost wake.
                        for _ in 0..200 {
                            if unpark.woken.load(Ordering::SeqCst) {
                                break;
                            }
                            thread::park_timeout(Duration::from_millis(100));
                        }
                        assert!(
                            unpark.woken.load(Ordering::SeqCst),
                            "{number} was not woken"
                        );
                    }
                }
            });
        }
        // The run loop.
        while left.load(Ordering::SeqCst) > 0 {
            look();
            queue.turn();
            let next = queue.now().saturating_add(Duration::from_nanos(1));
            clock.advance_to(next, queue);
            thread::yield_now();
        }
    });
}

#[test]
fn no_slot_is_forgotten() {
    let (queue, clock) = queue();
    let slots = leak([const { DeadlineSlot::new() }; THREADS]);
    let ask = |number: usize, deadline, waker: &Waker| {
        // SAFETY: all calls are with this queue; the wakers only count references.
        unsafe { slots[number].schedule(queue, deadline, waker) };
    };
    all_are_woken(queue, clock, ask, || ());
}

#[test]
fn in_a_table_with_room_no_wake_is_early() {
    let (queue, clock) = queue();
    let table = table::<THREADS>();
    let ask = |_, deadline, waker: &Waker| {
        // SAFETY: all calls are with this queue.
        unsafe { table.schedule(queue, deadline, waker) };
    };
    all_are_woken(queue, clock, ask, || ());
    assert_eq!(table.early_wakes(), 0);
}

#[test]
fn in_a_table_that_is_too_small_no_wake_is_lost() {
    let (queue, clock) = queue();
    let table = table::<1>();
    let ask = |_, deadline, waker: &Waker| {
        // SAFETY: all calls are with this queue.
        unsafe { table.schedule(queue, deadline, waker) };
    };
    all_are_woken(queue, clock, ask, || ());
}

#[cfg(feature = "alloc")]
#[test]
fn in_a_table_that_grows_no_wake_is_lost() {
    use crate::time::embassy::growth::{Growth, allocate};

    let (queue, clock) = queue();
    let (table, growth) = (table::<1>(), Growth::new());
    let ask = |_, deadline, waker: &Waker| {
        // SAFETY: all calls are with this queue.
        unsafe { table.schedule(queue, deadline, waker) };
    };
    all_are_woken(queue, clock, ask, || {
        // SAFETY: the same.
        unsafe { growth.look(table.look(), table, queue, allocate) };
    });
    assert!(table.entries() <= 2 * THREADS, "{}", table.entries());
}

/// The loop that serves the global queue pauses. A loop on another thread has tasks of its own to
/// poll, and leaves the pause as it is.
#[test]
#[cfg_attr(miri, ignore = "Miri has no processes")]
fn a_loop_does_not_pause_for_another_threads_queue() {
    tasks! { async fn yields(), pool = 1 { yield_now().await } }
    static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    alone(|| {
        host::init();
        let queue = TimerQueue::global();
        thread::scope(|scope| {
            let (began, begins) = mpsc::channel();
            let (done, is_done) = mpsc::channel::<()>();
            scope.spawn(move || {
                let mut served = Served::new(queue);
                assert!(served.is_ours());
                // SAFETY: this pace is used with the global queue only.
                unsafe { PACE.begin(queue) };
                served.turn();
                began.send(()).unwrap();
                // The other loop runs, until it drops its end.
                let _ = is_done.recv();
                assert!(pause::is_on(queue), "another loop has ended the pause");
                pause::end(queue);
            });
            begins.recv().expect("the pause has begun");
            assert!(pause::is_on(queue) && queue.is_settled());
            let mut runner = EXECUTOR.enter().unwrap();
            runner.spawner().spawn_detached(yields()).unwrap();
            assert!(!runner.is_idle(), "it has a task to poll");
            runner.run(NoWait);
            block_on(async { yield_now().await }, NoWait);
            drop(done);
        });
        // Without another loop, the pause is this one's.
        let mut runner = EXECUTOR.enter().unwrap();
        runner.spawner().spawn_detached(yields()).unwrap();
        assert!(!runner.is_idle());
        // SAFETY: as above.
        unsafe { PACE.begin(queue) };
        queue.turn();
        assert!(runner.is_idle(), "its task waits for the end of the pause");
        runner.run(host::Skip);
        assert!(!pause::is_on(queue));
    });
}

/// For a loop that always has something to poll.
struct NoWait;

impl Idle for NoWait {
    fn wait(&mut self, _cx: &IdleContext<'_>) {
        panic!("it waits although a task is ready");
    }
}
