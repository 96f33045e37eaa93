//! Many wakers other than those of tasks: for any number of them the vCPU halts, and no wake is
//! late.

use std::{
    cell::Cell,
    future::{self, Future},
    pin::pin,
    rc::Rc,
    thread,
};

use embassy_time::{Instant, Timer};
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::{entries::wakers, ms};
#[cfg(feature = "log")]
use crate::time::embassy::log_first_pause;
use crate::{
    block_on,
    executor::{Executor, Runner, Shared, Up64},
    idle::{Idle, IdleContext},
    platform::host::{self, Skip},
    tasks,
    test_support::alone,
    time::{
        Served, TimerQueue,
        embassy::{
            OTHER_WAKERS, OTHERS, between_passes, early_wakes, end_pause, most_wakers, pauses,
        },
        testing::{Recording, queue},
    },
};

const MILLIS: u64 = 500;

/// The polls and waits of a storm.
#[derive(Default)]
struct Counts {
    polls: Cell<u64>,
    waits: Cell<u64>,
}

impl Counts {
    fn assert_calm(&self, wakers: usize) {
        self.assert_calm_with(wakers, 1);
    }

    /// With the number of passes that the loop makes for each pause.
    fn assert_calm_with(&self, wakers: usize, passes: u64) {
        let (polls, waits, wakers) = (self.polls.get(), self.waits.get(), wakers as u64);
        let room = OTHER_WAKERS as u64;
        // Each is polled at the beginning and at the end.
        let (most_polls, most_waits) = if wakers <= room {
            (2 * wakers, 1)
        } else if cfg!(feature = "alloc") {
            // All are woken once to ask again, and may be evicted before each doubling.
            let doublings = u64::from(wakers.div_ceil(room).next_power_of_two().ilog2());
            ((3 + doublings) * wakers, 1)
        } else {
            // Each may be evicted once a pass, and a pause lasts a millisecond.
            ((2 + passes * MILLIS) * wakers, MILLIS + 1)
        };
        assert!(polls <= most_polls, "{polls} polls of {wakers}");
        assert!(waits <= most_waits, "{waits} waits");
        assert_eq!(early_wakes() == 0, wakers <= room);
        assert!(most_wakers() >= wakers as usize, "{}", most_wakers());
    }
}

/// Counts its waits, and advances the clock.
struct Counted<'a>(&'a Cell<u64>);

impl Idle for Counted<'_> {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        self.0.set(self.0.get() + 1);
        Skip.wait(cx);
    }
}

/// Sleepers in one future, each of which is polled with a waker of its own.
async fn storm(wakers: usize, counts: Rc<Counts>) {
    let start = Instant::now();
    let sleepers = (0..wakers).map(|_| async {
        let mut timer = pin!(Timer::at(start + ms(MILLIS)));
        future::poll_fn(|cx| {
            counts.polls.set(counts.polls.get() + 1);
            // Without a pause, the clock stands still.
            assert!(
                counts.polls.get() < 2000 * MILLIS + 10 * wakers as u64,
                "the loop does not pause"
            );
            timer.as_mut().poll(cx)
        })
        .await;
        assert_eq!(start.elapsed(), ms(MILLIS), "late, or early");
    });
    let sleepers: FuturesUnordered<_> = sleepers.collect();
    assert_eq!(sleepers.count().await, wakers);
}

fn in_block_on(wakers: usize) {
    host::init();
    let counts = Rc::<Counts>::default();
    block_on(storm(wakers, counts.clone()), Counted(&counts.waits));
    counts.assert_calm(wakers);
    assert_nothing_is_left();
}

tasks! {
    async fn storm_task(wakers: usize, counts: Rc<Counts>), pool = 1 { storm(wakers, counts).await }
}

/// A runner whose only task is a storm.
fn enter(executor: &'static Executor<Up64>, wakers: usize) -> (Runner<Up64>, Rc<Counts>) {
    host::init();
    let counts = Rc::<Counts>::default();
    let runner = executor.enter().unwrap();
    let task = storm_task(wakers, counts.clone());
    runner.spawner().spawn_detached(task).unwrap();
    (runner, counts)
}

fn assert_nothing_is_left() {
    let next = TimerQueue::global().turn();
    assert_eq!(next, None, "a deadline is left in the queue");
}

fn in_a_runner(wakers: usize) {
    static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    let (mut runner, counts) = enter(&EXECUTOR, wakers);
    runner.run(Counted(&counts.waits));
    counts.assert_calm(wakers);
    assert_nothing_is_left();
}

/// A loop of the program, which also runs the tasks when they are woken.
fn in_a_foreign_loop(wakers: usize) {
    static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    std::thread_local! {
        static WOKEN: Cell<bool> = const { Cell::new(false) };
    }
    EXECUTOR.on_wake(|| WOKEN.set(true));
    let (mut runner, counts) = enter(&EXECUTOR, wakers);
    loop {
        let turn = runner.run_until_idle();
        if turn.tasks_left == 0 {
            break;
        }
        assert!(turn.next_deadline.is_some());
        // It counts as idle also during a pause.
        assert!(runner.is_idle());
        if !WOKEN.replace(false) {
            wait(&runner, turn.next_deadline, &counts);
        }
    }
    counts.assert_calm(wakers);
    assert_nothing_is_left();
}

/// A loop of the program that makes each pass and each turn itself.
fn in_a_loop_of_passes(wakers: usize) {
    static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    let (mut runner, counts) = enter(&EXECUTOR, wakers);
    loop {
        runner.pass();
        let deadline = TimerQueue::global().turn();
        if EXECUTOR.tasks() == 0 {
            break;
        }
        if runner.is_idle() {
            wait(&runner, deadline, &counts);
        }
    }
    // A pass comes before the turn that ends the pause, and one after it.
    counts.assert_calm_with(wakers, 2);
    assert_nothing_is_left();
}

fn wait(runner: &Runner<Up64>, deadline: Option<crate::time::Instant>, counts: &Counts) {
    let is_idle = || runner.is_idle();
    let cx = IdleContext::new(TimerQueue::global(), deadline, &is_idle);
    Counted(&counts.waits).wait(&cx);
}

/// Each storm runs in a process of its own, in each of the loops.
macro_rules! storms {
    ($($name:ident: $wakers:expr),* $(,)?) => {$(
        mod $name {
            use super::*;

            #[test]
            fn in_block_on() {
                // The timers do not use `block_on`'s own waker here.
                alone(|| super::in_block_on($wakers));
            }

            #[test]
            fn in_a_runner() {
                alone(|| super::in_a_runner($wakers));
            }

            #[test]
            fn in_a_foreign_loop() {
                alone(|| super::in_a_foreign_loop($wakers));
            }

            #[test]
            fn in_a_loop_of_passes() {
                alone(|| super::in_a_loop_of_passes($wakers));
            }
        }
    )*};
}

storms! {
    one_fewer_than_fit: OTHER_WAKERS - 1,
    as_many_as_fit: OTHER_WAKERS,
    one_too_many: OTHER_WAKERS + 1,
    two_too_many: OTHER_WAKERS + 2,
    twice_as_many_and_two: 2 * OTHER_WAKERS + 2,
    a_thousand: 1000,
}

/// A pause does not delay what an interrupt wakes; only the few polls of early wakes do.
#[cfg(not(feature = "alloc"))]
#[test]
fn an_interrupt_ends_a_pause() {
    use crate::event::Event;

    static DEVICE: Event = Event::new();
    const SIGNALS: u64 = 20;

    /// Every other wait is ended at once, by a device.
    struct Interrupted(u64);

    impl Idle for Interrupted {
        fn wait(&mut self, cx: &IdleContext<'_>) {
            self.0 += 1;
            if self.0.is_multiple_of(2) {
                DEVICE.signal();
            } else {
                Skip.wait(cx);
            }
        }
    }

    tasks! {
        async fn listen(ended: Rc<Cell<Instant>>), pool = 1 {
            let start = Instant::now();
            for signal in 1..=SIGNALS {
                DEVICE.wait().unwrap().await;
                // Between two signals there is one pause.
                assert!(start.elapsed() <= ms(signal), "signal {signal}: {:?}", start.elapsed());
            }
            ended.set(Instant::now());
        }
    }

    alone(|| {
        static EXECUTOR: Executor<Up64> = Executor::new(Shared);
        host::init();
        let (ended, counts) = (Rc::new(Cell::new(Instant::MAX)), Rc::<Counts>::default());
        let mut runner = EXECUTOR.enter().unwrap();
        let spawner = runner.spawner();
        let task = storm_task(2 * OTHER_WAKERS, counts.clone());
        spawner.spawn_detached(task).unwrap();
        spawner.spawn_detached(listen(ended.clone())).unwrap();
        runner.run(Interrupted(0));
        assert!(ended.get() <= Instant::from_millis(SIGNALS));
        assert!(early_wakes() > 0, "it paused");
    });
}

/// A loop of another queue leaves the table alone, as does one of another vCPU.
#[test]
fn only_the_loop_that_serves_the_timers_makes_room() {
    alone(|| {
        host::init();
        let (global, (other, _clock)) = (TimerQueue::global(), queue());
        let sleepers = Recording::default();
        let wakers = wakers::<{ OTHER_WAKERS + 1 }>(&sleepers);
        for waker in &wakers {
            embassy_time_driver::schedule_wake(1000, waker);
        }
        assert_eq!(sleepers.take(), [0], "the table is full");

        between_passes(other);
        assert!(OTHERS.is_overfull());
        let mut served = Served::new(global);
        assert!(served.is_ours());
        thread::spawn(|| between_passes(global)).join().unwrap();
        assert!(OTHERS.is_overfull());
        between_passes(global);
        assert!(!OTHERS.is_overfull());

        assert_eq!(pauses(global), cfg!(not(feature = "alloc")));
        assert!(!pauses(other));
        end_pause(global);
    });
}

/// Growth is logged each time, the first pause once.
#[cfg(feature = "log")]
#[test]
fn a_full_table_is_logged() {
    struct Collect(std::sync::Mutex<std::vec::Vec<std::string::String>>);
    impl log::Log for Collect {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            let line = std::format!("{} {}", record.level(), record.args());
            self.0.lock().unwrap().push(line);
        }

        fn flush(&self) {}
    }
    static LOG: Collect = Collect(std::sync::Mutex::new(std::vec::Vec::new()));
    alone(|| {
        log::set_logger(&LOG).expect("the first logger");
        log::set_max_level(log::LevelFilter::Trace);
        in_block_on(3 * OTHER_WAKERS);
        // With a heap it pauses only if there is not enough memory.
        (0..3).for_each(|_| log_first_pause());
        let expected: &[&str] = &[
            #[cfg(feature = "alloc")]
            "INFO embassy timers: the table has 128",
            #[cfg(feature = "alloc")]
            "INFO embassy timers: the table has 256",
            "WARN embassy timers: there are more wakers than entries",
        ];
        let lines = LOG.0.lock().unwrap();
        assert_eq!(lines.len(), expected.len(), "{lines:?}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.starts_with(expected), "{line}");
        }
    });
}
