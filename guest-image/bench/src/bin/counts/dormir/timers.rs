//! dormir's timers: a separate queue, and one task that owns all timers.

use dormir::{
    executor::{Capacity, Cpus, Executor, Runner},
    time::{Alarm, Clock, Instant, Timer, TimerQueue},
};

use super::NAME;
use dormir_bench_guest::{figures::Subject, stopwatch::Stopwatch};

use crate::{
    clock,
    sleepers::{self, SleeperTask},
    timers::{self, NUMBERS, Timers},
};

static TIMERS: TimerQueue = TimerQueue::new();

/// The clock and the alarm of the [`clock`] module.
struct SimulatedTimer;

impl Clock for SimulatedTimer {
    #[inline]
    fn now(&self) -> Instant {
        Instant::from_nanos(clock::now())
    }
}

impl Alarm for SimulatedTimer {
    #[inline]
    fn set(&self, at: Instant) {
        clock::set_alarm(at.as_nanos());
    }

    #[inline]
    fn off(&self) {
        clock::set_alarm(u64::MAX);
    }
}

impl sleepers::BenchTimer for Timer {
    #[inline]
    fn at(nanos: u64) -> Self {
        TIMERS.timer(Instant::from_nanos(nanos))
    }
}

dormir::tasks! { fn sleeper(task: SleeperTask<Timer>) -> SleeperTask<Timer>, pool = 1 { task } }

struct Sleeping<C: Capacity, M: Cpus>(Runner<C, M>);

impl<C: Capacity, M: Cpus> Timers for Sleeping<C, M> {
    type Timer = Timer;

    const CANCELLED_LEAVE: bool = false;

    fn spawn(&mut self, task: SleeperTask<Timer>) {
        if self.0.spawner().spawn_detached(sleeper(task)).is_err() {
            panic!("it is the only task");
        }
    }

    /// As in `Runner::run`.
    #[inline(always)]
    fn turn(&mut self) {
        self.0.pass();
        TIMERS.turn();
    }

    /// As in `Runner::run`: the timers that are due are served when the wait ends; a pass follows.
    #[inline(always)]
    fn on_alarm(&mut self) {
        TIMERS.on_interrupt();
        TIMERS.turn();
        self.0.pass();
    }
}

/// Installs the queue's clock and alarm.
pub(super) fn install() {
    TIMERS
        .install(&SimulatedTimer, &SimulatedTimer)
        .expect("it has none yet");
}

pub(super) fn run<C: Capacity, M: Cpus>(
    executor: &'static Executor<C, M>,
    cpus: &'static str,
    watch: &Stopwatch,
    max: usize,
) {
    for n in NUMBERS.into_iter().filter(|n| *n <= max) {
        let subject = Subject {
            runtime: NAME,
            n,
            capacity: Some(C::TASKS as usize),
            cpus: Some(cpus),
        };
        let runner = executor.enter().expect("it is entered only here");
        let mut sleeping = Sleeping(runner.with_timers(&TIMERS));
        timers::run(&mut sleeping, watch, &subject, 1);
    }
}
