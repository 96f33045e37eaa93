//! Detects a runtime that does not run the guest's calls.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering,
    time::Duration,
};

use crate::{
    state::{Changing, HostState},
    task::CallTask,
};

/// The runtime does not run the guest's calls.
pub(crate) struct Stalled;

impl HostState {
    /// How long the runtime may take to poll new calls.
    pub(crate) fn patience(&self) -> Option<Duration> {
        // The runtime may be the user's, which may panic.
        let patience = catch_unwind(AssertUnwindSafe(|| self.runtime().first_poll_within()));
        let least = Duration::from_millis(1);
        patience.ok().flatten().map(|patience| patience.max(least))
    }

    /// Calls made progress, or there was no reason yet to expect it.
    pub(crate) fn note_activity(&self) {
        let millis = self.epoch.elapsed().as_millis();
        self.active_at.store(millis as u64, Ordering::Relaxed);
    }

    /// Returns after what time to look again, if that may be needed.
    pub(crate) fn look_for_stall(
        &self,
        changing: &Changing,
        patience: Duration,
    ) -> Result<Option<Duration>, Stalled> {
        let active_at = Duration::from_millis(self.active_at.load(Ordering::Relaxed));
        let inactive = self.epoch.elapsed().saturating_sub(active_at);
        if inactive < patience {
            Ok(Some(patience - inactive))
        } else if !changing.calls.any_running(CallTask::is_new) {
            Ok(None)
        } else if changing.calls.any_running(CallTask::is_polled) {
            // A function that takes its thread's time.
            Ok(Some(patience))
        } else {
            Err(Stalled)
        }
    }
}
