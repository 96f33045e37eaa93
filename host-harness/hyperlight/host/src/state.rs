//! The state that a sandbox's two functions share: the generation, the time, and whether waits are
//! cancelled.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    reply::{CallStatus, HostReply},
    tsc,
};

#[derive(Debug)]
pub(crate) struct HostState {
    epoch: Instant,
    tsc_hz: u64,
    changing: Mutex<Changing>,
    cancelled: Condvar,
}

#[derive(Debug)]
struct Changing {
    is_cancelled: bool,
    interrupts: bool,
    longest_wait: Duration,
    /// The generation of the guest's memory. Never zero, with which the guest denotes none.
    generation: u64,
    /// The stamp that the guest got at its last entry.
    stamp: u64,
}

impl HostState {
    pub(crate) fn new(interrupts: bool, longest_wait: Duration) -> Self {
        Self {
            epoch: Instant::now(),
            tsc_hz: tsc::hz(),
            changing: Mutex::new(Changing {
                is_cancelled: false,
                interrupts,
                longest_wait,
                // A snapshot may come from another host, whose generations must differ.
                generation: RandomState::new().hash_one(0_u64) | 1,
                stamp: 0,
            }),
            cancelled: Condvar::new(),
        }
    }

    pub(crate) fn set_interrupts(&self, interrupts: bool) {
        self.changing().interrupts = interrupts;
    }

    pub(crate) fn set_longest_wait(&self, longest: Duration) {
        self.changing().longest_wait = longest;
    }

    /// Handles the start of a call by the guest, which passes the generation and stamp that it got
    /// last.
    pub(crate) fn entry(&self, generation: u64, stamp: u64) -> HostReply {
        let mut changing = self.changing();
        // An earlier cancellation was for the previous call.
        changing.is_cancelled = false;
        if (generation, stamp) != (changing.generation, changing.stamp) {
            // Its memory has changed between calls: it was restored, or is new.
            changing.generation = changing.generation.wrapping_add(1).max(1);
        }
        changing.stamp = changing.stamp.wrapping_add(1);
        self.reply(&changing, CallStatus::Done)
    }

    /// Waits for `nanos` nanoseconds, or until cancelled. The guest chooses the number, which may
    /// be any.
    pub(crate) fn wait(&self, nanos: u64) -> HostReply {
        let changing = self.changing();
        let wait = Duration::from_nanos(nanos);
        let end = Instant::now().checked_add(wait);
        let Some(end) = end.filter(|_| wait <= changing.longest_wait) else {
            return self.reply(&changing, CallStatus::TooLong);
        };
        let mut changing = changing;
        loop {
            let remaining = end.saturating_duration_since(Instant::now());
            let status = if changing.is_cancelled {
                CallStatus::Cancelled
            } else if remaining.is_zero() {
                CallStatus::Done
            } else {
                let woken = self.cancelled.wait_timeout(changing, remaining);
                changing = woken.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            };
            return self.reply(&changing, status);
        }
    }

    /// Ends the current wait, and all waits until the next entry.
    pub(crate) fn cancel(&self) {
        self.changing().is_cancelled = true;
        self.cancelled.notify_all();
    }

    fn reply(&self, changing: &Changing, status: CallStatus) -> HostReply {
        HostReply {
            status,
            interrupts: changing.interrupts,
            generation: changing.generation,
            stamp: changing.stamp,
            now: nanos(self.epoch.elapsed()),
            tsc_hz: self.tsc_hz,
            longest_wait: nanos(changing.longest_wait),
        }
    }

    fn changing(&self) -> MutexGuard<'_, Changing> {
        // Nothing panics while it is locked.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, thread};

    fn state() -> HostState {
        HostState::new(false, Duration::from_secs(3600))
    }

    #[test]
    fn a_guest_that_is_as_it_was_left_has_the_same_generation() {
        let state = state();
        let first = state.entry(0, 0);
        assert_ne!(first.generation, 0);
        let second = state.entry(first.generation, first.stamp);
        assert_eq!(second.generation, first.generation);
        assert_ne!(second.stamp, first.stamp);
        // Restored to the state after its first entry.
        let restored = state.entry(first.generation, first.stamp);
        assert_ne!(restored.generation, first.generation);
        // Restored once more.
        let again = state.entry(first.generation, first.stamp);
        assert_ne!(again.generation, first.generation);
        assert_ne!(again.generation, restored.generation);
        let on = state.entry(again.generation, again.stamp);
        assert_eq!(on.generation, again.generation);
    }

    #[test]
    fn another_host_has_other_generations() {
        let first = state().entry(0, 0);
        let other = state().entry(first.generation, first.stamp);
        assert_ne!(other.generation, first.generation);
    }

    #[test]
    fn a_wait_is_never_short() {
        let state = state();
        let start = Instant::now();
        let reply = state.wait(3_000_000);
        assert!(start.elapsed() >= Duration::from_millis(3));
        assert_eq!(reply.status, CallStatus::Done);
        assert!(reply.now >= 3_000_000);
    }

    #[test]
    fn the_limit_is_kept_and_no_number_overflows() {
        let state = state();
        for nanos in [u64::MAX, u64::MAX - 1, 3_600_000_000_001] {
            assert_eq!(state.wait(nanos).status, CallStatus::TooLong, "{nanos}");
        }
        state.set_longest_wait(Duration::from_millis(1));
        assert_eq!(state.wait(1_000_001).status, CallStatus::TooLong);
        assert_eq!(state.wait(1_000_000).status, CallStatus::Done);
    }

    #[test]
    fn an_unlimited_wait_does_not_overflow() {
        let state = Arc::new(state());
        state.set_longest_wait(Duration::MAX);
        let other = Arc::clone(&state);
        let waiting = thread::spawn(move || other.wait(u64::MAX).status);
        thread::sleep(Duration::from_millis(5));
        state.cancel();
        assert_eq!(waiting.join().expect("it ends"), CallStatus::Cancelled);
    }

    #[test]
    fn a_cancelled_wait_ends_at_once() {
        let state = Arc::new(state());
        let other = Arc::clone(&state);
        let waiting = thread::spawn(move || other.wait(10_000_000_000).status);
        thread::sleep(Duration::from_millis(20));
        let cancelled = Instant::now();
        state.cancel();
        assert_eq!(waiting.join().expect("it ends"), CallStatus::Cancelled);
        assert!(cancelled.elapsed() < Duration::from_millis(500));
        // A later wait of the same call too, but not the next call.
        assert_eq!(state.wait(10_000_000_000).status, CallStatus::Cancelled);
        state.entry(0, 0);
        assert_eq!(state.wait(1).status, CallStatus::Done);
    }
}
