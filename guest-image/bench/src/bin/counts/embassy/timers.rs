//! embassy-time with the queue integrated into embassy-executor's tasks: a task has one entry in
//! it, so n timers need n tasks.

use embassy_executor::raw::TaskPool;
use embassy_time::{Instant, Timer};

use super::{Embassy, NAME};
use dormir_bench_guest::{
    embassy_driver::{AlarmDriver, Hardware},
    figures::Subject,
    stopwatch::Stopwatch,
};

use crate::{
    cases::BenchExecutor,
    clock,
    sleepers::{self, SleeperTask},
    timers::{self, NUMBERS, Timers},
};

/// The clock and the alarm of the [`clock`] module.
struct SimulatedHardware;

impl Hardware for SimulatedHardware {
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
    static DRIVER: AlarmDriver<SimulatedHardware> = AlarmDriver::new(SimulatedHardware)
);

impl sleepers::BenchTimer for Timer {
    #[inline]
    fn at(nanos: u64) -> Self {
        Timer::at(Instant::from_nanos(nanos))
    }
}

impl<const N: usize> Timers for Embassy<SleeperTask<Timer>, N> {
    type Timer = Timer;

    /// A cancelled timer stays in the queue, and wakes its task at its deadline.
    const CANCELLED_LEAVE: bool = true;

    fn spawn(&mut self, task: SleeperTask<Timer>) {
        BenchExecutor::spawn(self, task);
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

/// The largest number of timers: each operation visits all of them.
const MAX: usize = 10_000;

pub(super) fn run(watch: &Stopwatch, max: usize) {
    static SLEEPERS: TaskPool<SleeperTask<Timer>, MAX> = TaskPool::new();
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
