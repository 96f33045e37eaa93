//! Samples: kept in memory, reported at the end.
//!
//! A cell reports `PATH/RUNTIME/STAMP` for each stamp, the n-th value of each being the n-th sample's: in
//! nanoseconds since the round began, which is earlier than all of them. `PATH/RUNTIME/missed` counts the
//! rounds that gave no sample. RUNTIME is `floor`, `dormir`, `embassy`, or, where wakes are stamped, `dormir+wake`,
//! `embassy+wake`.

use alloc::{boxed::Box, format, vec::Vec};
use core::cell::RefCell;

use critical_section::Mutex;
use dormir_guest::console::{report, report_samples};

use crate::machine::now;

/// How many rounds are made before any counts.
const WARM_UP: usize = 20;

/// By which way a task is woken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// Its timer's deadline.
    Deadline,
    /// An interrupt that the host injects.
    Host,
    /// Another task.
    Task,
}

impl Path {
    const ALL: [Self; 3] = [Self::Deadline, Self::Host, Self::Task];

    /// The path of this name.
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
pub(crate) struct Sample {
    /// The deadline, or just before the interrupt was injected, or just before the task's wake.
    pub(crate) from: u64,
    /// 0 where there is no such stamp.
    pub(crate) handler: u64,
    /// 0 where there is no such stamp.
    pub(crate) wake: u64,
    pub(crate) poll: u64,
}

/// The samples of the cell whose turn it is.
static TAKEN: Mutex<RefCell<Vec<Sample>>> = Mutex::new(RefCell::new(Vec::new()));

/// Adds one to them.
pub(crate) fn take(sample: Sample) {
    critical_section::with(|cs| TAKEN.borrow_ref_mut(cs).push(sample));
}

/// Which stamps the samples of a cell have, besides the first and the last.
#[derive(Clone, Copy)]
pub(crate) struct Points {
    pub(crate) handler: bool,
    pub(crate) wake: bool,
}

/// One runtime on one path.
pub(crate) struct Cell<'a> {
    path: Path,
    runtime: &'static str,
    block: Box<dyn FnMut(usize) + 'a>,
    points: Points,
    samples: Vec<Sample>,
    rounds: usize,
    /// How long its blocks have taken so far.
    nanos: u64,
}

impl<'a> Cell<'a> {
    /// `block` makes so many rounds.
    pub(crate) fn new(
        path: Path,
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

    /// By which way its task is woken.
    pub(crate) fn path(&self) -> Path {
        self.path
    }

    /// Makes some rounds whose samples are dropped: what happens once (code is read, and translated) is not
    /// measured.
    pub(crate) fn warm_up(&mut self) {
        self.go_on(WARM_UP);
        self.samples.clear();
        self.rounds = 0;
        self.nanos = 0;
    }

    /// How many samples are to be taken yet; none if the time for them is over. Where wakes are stamped, half as
    /// many as elsewhere are wanted.
    pub(crate) fn left(&self, wanted: usize, limit_ms: u64) -> usize {
        let wanted = match self.points.wake {
            true => wanted.div_ceil(2),
            false => wanted,
        };
        if self.nanos >= limit_ms.saturating_mul(1_000_000) {
            return 0;
        }
        wanted.saturating_sub(self.samples.len())
    }

    /// Makes so many rounds.
    pub(crate) fn go_on(&mut self, rounds: usize) {
        // The heap is not used while a round lasts.
        critical_section::with(|cs| TAKEN.borrow_ref_mut(cs).reserve(rounds));
        let start = now();
        (self.block)(rounds);
        self.nanos += now().as_nanos() - start.as_nanos();
        self.rounds += rounds;
        critical_section::with(|cs| self.samples.append(&mut TAKEN.borrow_ref_mut(cs)));
    }

    /// Tells the harness.
    pub(crate) fn report(&self) {
        let name = |what| format!("{}/{}/{what}", self.path.name(), self.runtime);
        let series = |what, value: fn(&Sample) -> u64| {
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
