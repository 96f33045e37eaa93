//! Samples: taken in rounds, kept in memory, reported at the end.
//!
//! A cell reports `PATH/RUNTIME/STAMP` for each stamp, the n-th value of each being the n-th sample's: in
//! nanoseconds since the round began, which is earlier than all of them. `PATH/RUNTIME/missed` counts the
//! rounds that gave no sample.

use alloc::{format, vec::Vec};
use core::cell::RefCell;

use critical_section::Mutex;
use dormir::time::Instant;
use dormir_guest::console::{report, report_samples};

use crate::{
    machine::{Machine, machine},
    stamps,
};

/// How many rounds are made before any counts.
const WARM_UP: usize = 20;

/// By which way a task is woken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// Its timer's deadline.
    Deadline,
    /// Another task.
    Task,
}

impl Path {
    fn name(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Task => "task",
        }
    }
}

/// One sample, in nanoseconds since its round began.
#[derive(Clone, Copy)]
struct Sample {
    /// The deadline; of a wake by a task, just before that.
    from: u64,
    /// 0 where the path has no interrupt.
    handler: u64,
    /// 0 where there is no runtime.
    wake: u64,
    poll: u64,
}

/// The samples of the cell whose turn it is.
static TAKEN: Mutex<RefCell<Vec<Sample>>> = Mutex::new(RefCell::new(Vec::new()));

/// From the moment at which a deadline was chosen to the sample.
pub(crate) struct Round {
    began: Instant,
    /// When the timer is to fire.
    pub(crate) deadline: Instant,
}

impl Round {
    pub(crate) fn begin() -> Self {
        stamps::clear();
        let began = machine().now();
        let deadline = machine().deadline_after(began);
        Self { began, deadline }
    }

    /// The same for a runtime that need not sleep: it may see by itself that the deadline has passed, before
    /// the interrupt comes, so there is no stamp of that.
    pub(crate) fn end_awake(self, poll: u64) {
        if let Some(wake) = stamps::woken() {
            let since = |stamp| nanos_between(machine(), self.began, stamp);
            take(Sample {
                from: self.deadline.as_nanos() - self.began.as_nanos(),
                handler: 0,
                wake: since(wake),
                poll: since(poll),
            });
        }
    }

    /// Takes the sample; `poll` is the stamp of the poll, or where there is no runtime of the main line.
    pub(crate) fn end(self, poll: u64) {
        // Without an interrupt the deadline had passed before the vCPU slept. One that is stamped after the
        // wake has not brought it about: the alarm was a moment early, and its successor is on record.
        let before = stamps::woken().unwrap_or(poll);
        if let Some(handler) = stamps::handler().filter(|&stamp| stamp <= before) {
            let since = |stamp| nanos_between(machine(), self.began, stamp);
            take(Sample {
                from: self.deadline.as_nanos() - self.began.as_nanos(),
                handler: since(handler),
                wake: stamps::woken().map_or(0, since),
                poll: since(poll),
            });
        }
    }
}

/// Takes the sample of a wake by a task: the stamps before the wake and at the poll.
pub(crate) fn take_wake(before: u64, poll: u64) {
    let began = machine().clock.at(before);
    let since = |stamp| nanos_between(machine(), began, stamp);
    take(Sample {
        from: 0,
        handler: 0,
        wake: stamps::woken().map_or(0, since),
        poll: since(poll),
    });
}

fn nanos_between(machine: &Machine, began: Instant, stamp: u64) -> u64 {
    let at = machine.clock.at(stamp).as_nanos();
    at.saturating_sub(began.as_nanos())
}

fn take(sample: Sample) {
    critical_section::with(|cs| TAKEN.borrow_ref_mut(cs).push(sample));
}

/// One runtime on one path.
pub(crate) struct Cell<'a> {
    path: Path,
    runtime: &'static str,
    block: alloc::boxed::Box<dyn FnMut(usize) + 'a>,
    /// Whether its samples have the interrupt's stamp.
    has_handler: bool,
    samples: Vec<Sample>,
    rounds: usize,
    /// How long its blocks have taken so far.
    nanos: u64,
}

impl<'a> Cell<'a> {
    /// `block` makes so many rounds.
    pub(crate) fn new(path: Path, runtime: &'static str, block: impl FnMut(usize) + 'a) -> Self {
        Self {
            path,
            runtime,
            block: alloc::boxed::Box::new(block),
            has_handler: path == Path::Deadline,
            samples: Vec::new(),
            rounds: 0,
            nanos: 0,
        }
    }

    /// Says whether its samples have the interrupt's stamp.
    pub(crate) fn with_handler(mut self, has_handler: bool) -> Self {
        self.has_handler = has_handler;
        self
    }

    /// Makes some rounds whose samples are dropped: what happens once (code is read, and translated) is not
    /// measured.
    pub(crate) fn warm_up(&mut self) {
        self.go_on(WARM_UP);
        self.samples.clear();
        self.rounds = 0;
        self.nanos = 0;
    }

    /// How many samples are to be taken yet; none if the time for them is over.
    pub(crate) fn left(&self, wanted: usize, limit_ms: u64) -> usize {
        if self.nanos >= limit_ms.saturating_mul(1_000_000) {
            return 0;
        }
        wanted.saturating_sub(self.samples.len())
    }

    /// Makes so many rounds.
    pub(crate) fn go_on(&mut self, rounds: usize) {
        // The heap is not used while a round lasts.
        critical_section::with(|cs| TAKEN.borrow_ref_mut(cs).reserve(rounds));
        let start = machine().now();
        (self.block)(rounds);
        self.nanos += machine().now().as_nanos() - start.as_nanos();
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
        if self.has_handler {
            series("handler", |sample| sample.handler);
        }
        if self.runtime != "floor" {
            series("wake", |sample| sample.wake);
        }
        series("poll", |sample| sample.poll);
        report(&name("missed"), (self.rounds - self.samples.len()) as u64);
    }
}
