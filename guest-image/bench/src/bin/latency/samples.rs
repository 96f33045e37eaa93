//! Samples, kept in memory and reported at the end.
//!
//! A measurement reports `PATH/RUNTIME/STAMP` for each stamp. The n-th value belongs to the n-th
//! sample, in nanoseconds since its round began. `PATH/RUNTIME/missed` counts the rounds without a
//! sample. RUNTIME is `floor`, `dormir` or `embassy`; with stamped wakes, `dormir+wake` or
//! `embassy+wake`.

use alloc::{boxed::Box, format, vec::Vec};
use core::cell::RefCell;

use critical_section::Mutex;
use dormir_guest::console::{report, report_samples};

use crate::machine::now;

/// How many rounds run before samples are kept.
const WARM_UP: usize = 20;

/// What wakes a task.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WakePath {
    /// Its timer's deadline passes.
    Deadline,
    /// The host injects an interrupt.
    Host,
    /// Another task wakes it.
    Task,
}

impl WakePath {
    const ALL: [Self; 3] = [Self::Deadline, Self::Host, Self::Task];

    /// Returns the path with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|path| path.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Host => "host",
            Self::Task => "task",
        }
    }
}

/// One sample, in nanoseconds since its round began.
#[derive(Clone, Copy)]
pub(crate) struct WakeSample {
    /// The deadline, or just before the interrupt was injected, or just before the task's wake.
    pub(crate) from: u64,
    /// At the interrupt's entry; 0 if there is no such stamp.
    pub(crate) handler: u64,
    /// Where the task was made ready; 0 if there is no such stamp.
    pub(crate) wake: u64,
    pub(crate) poll: u64,
}

/// The samples of the measurement that is running.
static TAKEN: Mutex<RefCell<Vec<WakeSample>>> = Mutex::new(RefCell::new(Vec::new()));

/// Adds a sample to the running measurement.
pub(crate) fn take(sample: WakeSample) {
    critical_section::with(|cs| TAKEN.borrow_ref_mut(cs).push(sample));
}

/// Which stamps the samples of a measurement have, besides the first and the last.
#[derive(Clone, Copy)]
pub(crate) struct Points {
    pub(crate) handler: bool,
    pub(crate) wake: bool,
}

/// One runtime on one path.
pub(crate) struct Measurement<'a> {
    path: WakePath,
    runtime: &'static str,
    block: Box<dyn FnMut(usize) + 'a>,
    points: Points,
    samples: Vec<WakeSample>,
    rounds: usize,
    /// How long its blocks have taken in total.
    nanos: u64,
}

impl<'a> Measurement<'a> {
    /// Makes a measurement; `block` runs the given number of rounds.
    pub(crate) fn new(
        path: WakePath,
        runtime: &'static str,
        points: Points,
        block: Box<dyn FnMut(usize) + 'a>,
    ) -> Self {
        Self {
            path,
            runtime,
            block,
            points,
            samples: Vec::new(),
            rounds: 0,
            nanos: 0,
        }
    }

    /// Returns what wakes its task.
    pub(crate) fn path(&self) -> WakePath {
        self.path
    }

    /// Runs some rounds and drops their samples, so that one-time costs (code is loaded and
    /// translated) are not measured.
    pub(crate) fn warm_up(&mut self) {
        self.go_on(WARM_UP);
        self.samples.clear();
        self.rounds = 0;
        self.nanos = 0;
    }

    /// Returns how many samples are still to be taken; 0 once the time limit is reached. With
    /// stamped wakes, half as many are taken.
    pub(crate) fn remaining(&self, wanted: usize, limit_ms: u64) -> usize {
        let wanted = match self.points.wake {
            true => wanted.div_ceil(2),
            false => wanted,
        };
        if self.nanos >= limit_ms.saturating_mul(1_000_000) {
            return 0;
        }
        wanted.saturating_sub(self.samples.len())
    }

    /// Returns whether it runs a block in this turn: with stamped wakes, in every second turn, so
    /// that its samples are spread over the same time as the others.
    pub(crate) fn has_turn(&self, turn: usize) -> bool {
        !self.points.wake || turn.is_multiple_of(2)
    }

    /// Runs `rounds` rounds.
    pub(crate) fn go_on(&mut self, rounds: usize) {
        // Reserved here, so that no round uses the heap.
        critical_section::with(|cs| TAKEN.borrow_ref_mut(cs).reserve(rounds));
        let start = now();
        (self.block)(rounds);
        self.nanos += now().as_nanos() - start.as_nanos();
        self.rounds += rounds;
        critical_section::with(|cs| self.samples.append(&mut TAKEN.borrow_ref_mut(cs)));
    }

    /// Reports the samples to the harness.
    pub(crate) fn report(&self) {
        let name = |what| format!("{}/{}/{what}", self.path.name(), self.runtime);
        let series = |what, value: fn(&WakeSample) -> u64| {
            report_samples(&name(what), self.samples.iter().map(value));
        };
        series("from", |sample| sample.from);
        if self.points.handler {
            series("handler", |sample| sample.handler);
        }
        if self.points.wake {
            series("wake", |sample| sample.wake);
        }
        series("poll", |sample| sample.poll);
        report(&name("missed"), (self.rounds - self.samples.len()) as u64);
    }
}
