//! Choices, and how long a request may take.

use core::time::Duration;

use dormir::time::with_timeout;

use crate::tasks::poll_once;

/// The longest time after which a request is dropped, in microseconds.
const MOST_MICROS: u64 = 300;

pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another one, which chooses something else.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`, which is small.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((self.next() >> 32) * end) >> 32
    }

    /// Awaits a request, or drops it in a third of all cases. `None`: it was dropped.
    pub(super) async fn maybe_drop<F: Future>(&mut self, request: F) -> Option<F::Output> {
        match self.below(9) {
            0 | 1 => poll_once(request).await,
            2 => {
                let limit = Duration::from_micros(self.below(MOST_MICROS));
                with_timeout(limit, request).await.ok()
            }
            _ => Some(request.await),
        }
    }
}
