//! embassy-time with the queue that is integrated into the tasks of embassy-executor: a task has one
//! place in it, so n timers need n tasks.

use embassy_executor::raw::TaskPool;
use embassy_time::{Instant, Timer};

use super::{Embassy, NAME};
use dormir_bench_guest::{
    embassy_driver::{AlarmDriver, Hardware},
    figures::Subject,
    stopwatch::Stopwatch,
};

use crate::{
    cases::Executor,
    clock,
    sleepers::{self, Sleeper},
    timers::{self, NUMBERS, Timers},
};

/// The clock and the alarm of all cases.
struct Counted;

impl Hardware for Counted {
    #[inline]
    fn now(&self) -> u64 {
        clock::now()
    }

    #[inline]
    fn set_alarm(&self, at: u64) -> bool {
        clock::set_alarm(at);
        clock::now() < at
    }
}

embassy_time_driver::time_driver_impl!(
    static DRIVER: AlarmDriver<Counted> = AlarmDriver::new(Counted)
);

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
