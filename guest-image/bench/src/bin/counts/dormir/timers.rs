//! dormir's timers: a queue of its own, and one task, to which all timers belong.

use dormir::{
    executor::{Capacity, Cpus, Executor, Runner},
    time::{Alarm, Clock, Instant, Timer, TimerQueue},
};

use super::NAME;
use dormir_bench_guest::{figures::Subject, stopwatch::Stopwatch};

use crate::{
    clock,
    sleepers::{self, Sleeper},
    timers::{self, NUMBERS, Timers},
};

static TIMERS: TimerQueue = TimerQueue::new();

struct Machine;

impl Clock for Machine {
    #[inline]
    fn now(&self) -> Instant {
        Instant::from_nanos(clock::now())
    }
}

impl Alarm for Machine {
    #[inline]
    fn set(&self, at: Instant) {
        clock::set_alarm(at.as_nanos());
    }

    #[inline]
    fn off(&self) {
        clock::set_alarm(u64::MAX);
    }
}

impl sleepers::Timer for Timer {
    #[inline]
    fn at(nanos: u64) -> Self {
        TIMERS.timer(Instant::from_nanos(nanos))
    }
}

dormir::task! { fn sleeper(task: Sleeper<Timer>) -> Sleeper<Timer>, pool = 1 { task } }

struct Sleeping<C: Capacity, M: Cpus>(Runner<C, M>);

impl<C: Capacity, M: Cpus> Timers for Sleeping<C, M> {
    type Timer = Timer;

    const CANCELLED_LEAVE: bool = false;

    fn spawn(&mut self, task: Sleeper<Timer>) {
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

    /// As in `Runner::run`: what the interrupt made due is served when the wait ends, and then comes a pass.
    #[inline(always)]
    fn on_alarm(&mut self) {
        TIMERS.on_interrupt();
        TIMERS.turn();
        self.0.pass();
    }
}

/// Gives the queue its clock and its alarm.
pub(super) fn install() {
    TIMERS.install(&Machine, &Machine).expect("it has none yet");
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
        let runner = executor.enter().expect("nobody else enters it");
        let mut sleeping = Sleeping(runner.with_timers(&TIMERS));
        timers::run(&mut sleeping, watch, &subject, 1);
    }
}
