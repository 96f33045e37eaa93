//! A round: it arranges for something to wake the vCPU, waits, and takes a sample if it can.

use dormir::time::Instant;

use crate::{
    host,
    machine::{machine, now},
    samples::{WakeSample, take},
    stamps,
};

/// What wakes the vCPU in a round.
enum Start {
    Deadline(Instant),
    Host,
}

/// What a round must have observed for its sample to count.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    /// The vCPU was already waiting when the wake came.
    pub(crate) sleep: bool,
    /// An interrupt woke it. A runtime that need not sleep may notice a passed deadline before the
    /// interrupt comes; then there is no stamp of the handler.
    pub(crate) handler: bool,
}

impl Expected {
    /// For a runtime that halts until an interrupt comes.
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
    // None of these is inlined into the tasks, whose polls would then save more registers.

    /// Starts a round that ends at a deadline, and chooses that.
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

    /// Starts a round in which the host injects an interrupt, and asks for that.
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

    /// Returns the deadline that was chosen; `NEVER` if the host wakes.
    pub(crate) fn deadline(&self) -> Instant {
        match self.start {
            Start::Deadline(deadline) => deadline,
            Start::Host => Instant::NEVER,
        }
    }

    /// Takes the sample, if there is one. `poll` is the stamp of the poll; without a runtime, of
    /// the first instruction after the wake.
    #[inline(never)]
    pub(crate) fn end(self, poll: u64) {
        if let Some(sample) = self.sample(poll) {
            take(sample);
        }
    }

    fn sample(&self, poll: u64) -> Option<WakeSample> {
        let since = |stamp| nanos_since(self.began, stamp);
        let from = match self.start {
            Start::Deadline(deadline) => deadline.as_nanos() - self.began.as_nanos(),
            Start::Host => since(host::injected()?),
        };
        if self.expected.sleep && since(stamps::asleep()?) > from {
            return None;
        }
        let handler = if self.expected.handler {
            // A handler stamped after the wake did not cause it: the alarm was slightly early, and
            // the stamp is that of the next interrupt.
            let before = stamps::woken().unwrap_or(poll);
            since(stamps::handler().filter(|&stamp| stamp <= before)?)
        } else {
            0
        };
        Some(WakeSample {
            from,
            handler,
            wake: stamps::woken().map_or(0, since),
            poll: since(poll),
        })
    }
}

/// Takes the sample of a wake by a task, from the stamps before the wake and at the poll.
#[inline(never)]
pub(crate) fn take_wake(before: u64, poll: u64) {
    let began = machine().clock.at(before);
    let since = |stamp| nanos_since(began, stamp);
    take(WakeSample {
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
