//! A round: from the moment at which it is settled what is to wake the vCPU to the sample, if it gives one.

use dormir::time::Instant;

use crate::{
    host,
    machine::{machine, now},
    samples::{Sample, take},
    stamps,
};

/// What wakes.
enum Start {
    Deadline(Instant),
    Host,
}

/// What a round must have seen to give a sample.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    /// The vCPU was waiting when it began.
    pub(crate) sleep: bool,
    /// An interrupt has woken it. A runtime that need not sleep may see by itself that a deadline has passed,
    /// before the interrupt comes; then there is no stamp of that.
    pub(crate) handler: bool,
}

impl Expected {
    /// Of whoever halts until there is an interrupt.
    pub(crate) const HALT: Self = Self {
        sleep: true,
        handler: true,
    };
}

pub(crate) struct Round {
    began: Instant,
    start: Start,
    expected: Expected,
}

impl Round {
    // None of this is inlined into the tasks, whose polls would save more registers for it.

    /// Chooses a deadline.
    #[inline(never)]
    pub(crate) fn by_deadline(expected: Expected) -> Self {
        stamps::clear();
        let began = now();
        let nanos = began.as_nanos().saturating_add(machine().until_deadline());
        Self {
            began,
            start: Start::Deadline(Instant::from_nanos(nanos)),
            expected,
        }
    }

    /// Asks the host for an interrupt.
    #[inline(never)]
    pub(crate) fn by_host(expected: Expected) -> Self {
        stamps::clear();
        let began = now();
        host::interrupt_in(machine().until_interrupt());
        Self {
            began,
            start: Start::Host,
            expected,
        }
    }

    /// The deadline that was chosen; where the host wakes, none that ever comes.
    pub(crate) fn deadline(&self) -> Instant {
        match self.start {
            Start::Deadline(deadline) => deadline,
            Start::Host => Instant::NEVER,
        }
    }

    /// Takes the sample, if there is one; `poll` is the stamp of the poll, or where there is no runtime of the
    /// main line.
    #[inline(never)]
    pub(crate) fn end(self, poll: u64) {
        if let Some(sample) = self.sample(poll) {
            take(sample);
        }
    }

    fn sample(&self, poll: u64) -> Option<Sample> {
        let since = |stamp| nanos_since(self.began, stamp);
        let from = match self.start {
            Start::Deadline(deadline) => deadline.as_nanos() - self.began.as_nanos(),
            Start::Host => since(host::injected()?),
        };
        if self.expected.sleep && since(stamps::asleep()?) > from {
            return None;
        }
        let handler = if self.expected.handler {
            // One that is stamped after the wake has not brought it about: the alarm was a moment early, and
            // its successor is on record.
            let before = stamps::woken().unwrap_or(poll);
            since(stamps::handler().filter(|&stamp| stamp <= before)?)
        } else {
            0
        };
        Some(Sample {
            from,
            handler,
            wake: stamps::woken().map_or(0, since),
            poll: since(poll),
        })
    }
}

/// Takes the sample of a wake by a task: the stamps before the wake and at the poll.
#[inline(never)]
pub(crate) fn take_wake(before: u64, poll: u64) {
    let began = machine().clock.at(before);
    let since = |stamp| nanos_since(began, stamp);
    take(Sample {
        from: 0,
        handler: 0,
        wake: stamps::woken().map_or(0, since),
        poll: since(poll),
    });
}

fn nanos_since(began: Instant, stamp: u64) -> u64 {
    let at = machine().clock.at(stamp).as_nanos();
    at.saturating_sub(began.as_nanos())
}
