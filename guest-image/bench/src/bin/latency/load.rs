//! What else there is to do.

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

/// The other tasks of a runtime.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// There are none.
    None,
    /// So many sleep, each on a timer of its own that is beyond the run.
    Sleepers(usize),
    /// So many are always ready.
    Busy(usize),
}

/// The most sleepers that there is room for.
pub(crate) const MOST_SLEEPERS: usize = 1000;

/// The most busy tasks.
pub(crate) const MOST_BUSY: usize = 50;

impl Load {
    /// The load of this name: `none`, `sleepers-1000`, `busy-10`.
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
                "load= is one of none, sleepers-1 to sleepers-{MOST_SLEEPERS}, busy-1 to busy-{MOST_BUSY}"
            ))
        }
    }

    /// Whether there is always something to do, so that the vCPU never halts.
    pub(crate) fn keeps_awake(self) -> bool {
        matches!(self, Self::Busy(_))
    }
}

/// A deadline that the run does not see: a day away, and up to an hour more, in no order.
pub(crate) fn far_deadline() -> Instant {
    const DAY: u64 = 24 * HOUR;
    const HOUR: u64 = 3600 * 1_000_000_000;
    static RANDOM: Mutex<RefCell<Random>> = Mutex::new(RefCell::new(Random::seeded(7)));
    let more = critical_section::with(|cs| RANDOM.borrow_ref_mut(cs).below(HOUR));
    Instant::from_nanos(now().as_nanos() + DAY + more)
}

/// A task that is always ready: each poll wakes it again.
pub(crate) struct Busy {
    /// Whether it ends with the runtime's turn.
    ends_with_turn: bool,
}

impl Busy {
    /// One that goes on in the runtime's next turn.
    pub(crate) fn for_good() -> Self {
        Self {
            ends_with_turn: false,
        }
    }

    /// One that ends with the runtime's turn.
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
