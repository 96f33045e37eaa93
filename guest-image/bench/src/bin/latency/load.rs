//! The load: what the runtimes have to do besides the measured tasks.

use alloc::string::String;
use core::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use critical_section::Mutex;
use dormir::time::Instant;
use dormir_bench_guest::random::Random;

use crate::{machine::now, turn};

/// The tasks that a runtime has besides the measured ones.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// There are none.
    None,
    /// The given number of tasks sleep, each on a timer that expires after the run.
    Sleepers(usize),
    /// The given number of tasks are always ready.
    Busy(usize),
}

/// The largest number of sleepers.
pub(crate) const MOST_SLEEPERS: usize = 1000;

/// The largest number of busy tasks.
pub(crate) const MOST_BUSY: usize = 50;

impl Load {
    /// Returns the load with this name: `none`, `sleepers-1000`, `busy-10`.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        let number = |prefix, most| {
            let number = name.strip_prefix(prefix)?.parse().ok();
            number.filter(|number| (1..=most).contains(number))
        };
        if name == "none" {
            Ok(Self::None)
        } else if let Some(tasks) = number("sleepers-", MOST_SLEEPERS) {
            Ok(Self::Sleepers(tasks))
        } else if let Some(tasks) = number("busy-", MOST_BUSY) {
            Ok(Self::Busy(tasks))
        } else {
            Err(alloc::format!(
                "load= is one of none, sleepers-1 to sleepers-{MOST_SLEEPERS}, \
                 busy-1 to busy-{MOST_BUSY}"
            ))
        }
    }

    /// Returns whether a task is always ready, so that the vCPU never halts.
    pub(crate) fn keeps_awake(self) -> bool {
        matches!(self, Self::Busy(_))
    }
}

/// Returns a deadline after the run: a day away, plus a random time of up to an hour.
pub(crate) fn far_deadline() -> Instant {
    const DAY: u64 = 24 * HOUR;
    const HOUR: u64 = 3600 * 1_000_000_000;
    static RANDOM: Mutex<RefCell<Random>> = Mutex::new(RefCell::new(Random::seeded(7)));
    let more = critical_section::with(|cs| RANDOM.borrow_ref_mut(cs).below(HOUR));
    Instant::from_nanos(now().as_nanos() + DAY + more)
}

/// A task that is always ready: it wakes itself in each poll.
pub(crate) struct Busy {
    /// Whether it ends with the runtime's turn.
    ends_with_turn: bool,
}

impl Busy {
    /// Makes a task that goes on in the runtime's next turn.
    pub(crate) fn permanent() -> Self {
        Self {
            ends_with_turn: false,
        }
    }

    /// Makes a task that ends with the runtime's turn.
    pub(crate) fn for_a_turn() -> Self {
        Self {
            ends_with_turn: true,
        }
    }
}

impl Future for Busy {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.ends_with_turn && turn::is_over() {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
