//! Whether a debugger is attached to a guest. The time limit depends on it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Whether a debugger is attached to a guest, or the guest waits for the first one; and otherwise,
/// since when that is not so.
///
/// It keeps the time, so that a debugger that comes and leaves between two looks is not missed.
#[derive(Debug, Default)]
pub(in crate::vmm) struct DebuggerPresence {
    left: Mutex<Option<Instant>>,
}

impl DebuggerPresence {
    /// Notes that a debugger is attached, or that none is.
    pub(in crate::vmm) fn set(&self, is_attached: bool) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if is_attached {
            *left = None;
        } else {
            left.get_or_insert_with(Instant::now);
        }
    }

    /// Returns when a guest has run for this long since the last debugger left; `None` while one is
    /// attached, or if that is beyond the clock's range.
    pub(in crate::vmm) fn deadline(&self, limit: Duration) -> Option<Instant> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.and_then(|left| left.checked_add(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(3600);

    #[test]
    fn the_time_counts_from_when_the_last_debugger_left() {
        let presence = DebuggerPresence::default();
        assert_eq!(presence.deadline(LIMIT), None, "it waits for the first one");
        presence.set(false);
        let first = presence.deadline(LIMIT);
        assert!(first.is_some());
        presence.set(false);
        assert_eq!(presence.deadline(LIMIT), first, "none has come meanwhile");
        presence.set(true);
        assert_eq!(presence.deadline(LIMIT), None);
        presence.set(false);
        assert!(
            presence.deadline(LIMIT) > first,
            "it has all of its time again"
        );
    }

    #[test]
    fn a_limit_beyond_the_clock_is_none() {
        let presence = DebuggerPresence::default();
        presence.set(false);
        assert_eq!(presence.deadline(Duration::MAX), None);
    }
}
