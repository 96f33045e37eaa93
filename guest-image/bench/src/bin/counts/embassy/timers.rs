//! embassy-time with the queue that is integrated into the tasks of embassy-executor: a task has one
//! place in it, so n timers need n tasks.

use core::{cell::RefCell, task::Waker};

use critical_section::Mutex;
use embassy_executor::raw::TaskPool;
use embassy_time::{Instant, Timer};
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

use super::{Embassy, NAME};
use dormir_bench_guest::{figures::Subject, stopwatch::Stopwatch};

use crate::{
    cases::Executor,
    clock,
    sleepers::{self, Sleeper},
    timers::{self, NUMBERS, Timers},
};

/// The time driver, which does what those of embassy's hardware crates do.
struct AlarmDriver {
    queue: Mutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(static DRIVER: AlarmDriver = AlarmDriver {
    queue: Mutex::new(RefCell::new(Queue::new())),
});

impl Driver for AlarmDriver {
    #[inline]
    fn now(&self) -> u64 {
        clock::now()
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|cs| {
            let mut queue = self.queue.borrow_ref_mut(cs);
            if queue.schedule_wake(at, waker) {
                set_alarm(&mut queue);
            }
        });
    }
}

impl AlarmDriver {
    /// The handler of the alarm's interrupt.
    fn on_alarm(&self) {
        critical_section::with(|cs| set_alarm(&mut self.queue.borrow_ref_mut(cs)));
    }
}

/// Wakes what is due, and sets the alarm. What has passed meanwhile is due too.
fn set_alarm(queue: &mut Queue) {
    loop {
        let next = queue.next_expiration(clock::now());
        clock::set_alarm(next);
        if clock::now() < next {
            break;
        }
    }
}

impl sleepers::Timer for Timer {
    #[inline]
    fn at(nanos: u64) -> Self {
        Timer::at(Instant::from_nanos(nanos))
    }
}

impl<const N: usize> Timers for Embassy<Sleeper<Timer>, N> {
    type Timer = Timer;

    /// It stays in the queue, and wakes its task for nothing.
    const CANCELLED_LEAVE: bool = true;

    fn spawn(&mut self, task: Sleeper<Timer>) {
        Executor::spawn(self, task);
    }

    #[inline(always)]
    fn turn(&mut self) {
        self.pass();
    }

    #[inline(always)]
    fn on_alarm(&mut self) {
        DRIVER.on_alarm();
        self.pass();
    }
}

/// How many timers there are at most: each operation goes through all of them.
const MAX: usize = 10_000;

pub(super) fn run(watch: &Stopwatch, max: usize) {
    static SLEEPERS: TaskPool<Sleeper<Timer>, MAX> = TaskPool::new();
    for n in NUMBERS.into_iter().filter(|n| *n <= max.min(MAX)) {
        let subject = Subject {
            runtime: NAME,
            n,
            capacity: Some(MAX),
            cpus: None,
        };
        timers::run(&mut Embassy::new(&SLEEPERS), watch, &subject, n);
    }
}
