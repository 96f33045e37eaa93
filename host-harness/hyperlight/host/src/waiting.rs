//! The wait of an exchange: for news, and then for more of it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use dormir_hyperlight_protocol::ReplyStatus;

use crate::{
    stall::Stalled,
    state::{Changing, HostState},
};

/// A wait that the guest has asked for.
pub(crate) struct Waiting {
    /// Without an end, if there is no such instant.
    end: Option<Instant>,
    /// How many bytes of results the guest takes.
    room: usize,
    /// How long the runtime may take to poll new calls.
    patience: Option<Duration>,
    /// Until when more news is awaited, once there is some; within, `None` is without an end.
    lingers_until: Option<Option<Instant>>,
}

impl Waiting {
    /// The guest chooses how long, within the limit.
    pub(crate) fn new(wait: Duration, room: usize, patience: Option<Duration>) -> Self {
        Self {
            end: Instant::now().checked_add(wait),
            room,
            patience,
            lingers_until: None,
        }
    }

    /// Returns how long to wait for a change, or how the wait has ended.
    fn look(&mut self, state: &HostState, changing: &Changing) -> Result<Duration, ReplyStatus> {
        if changing.is_cancelled {
            return Err(ReplyStatus::Cancelled);
        }
        let now = Instant::now();
        let mut until = self.end;
        let mut look_in = Duration::MAX;
        let has_news = changing.calls.has_news(self.room);
        if has_news {
            let lingers = *self
                .lingers_until
                .get_or_insert_with(|| now.checked_add(changing.linger));
            if !changing.calls.runs() || changing.calls.fills(self.room) {
                return Err(ReplyStatus::Done);
            }
            until = until.into_iter().chain(lingers).min();
        }
        if let Some(patience) = self.patience {
            match state.look_for_stall(changing, patience) {
                Ok(again) => look_in = again.unwrap_or(Duration::MAX),
                Err(Stalled) if has_news => return Err(ReplyStatus::Done),
                Err(Stalled) => return Err(ReplyStatus::Stalled),
            }
        }
        let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(now));
        if left.is_zero() {
            Err(ReplyStatus::Done)
        } else {
            Ok(left.min(look_in))
        }
    }
}

impl HostState {
    /// Waits as the runtime wants it, if there is anything to wait for.
    pub(crate) fn wait(&self, mut waiting: Waiting) -> ReplyStatus {
        let looked = waiting.look(self, &self.changing());
        if let Err(status) = looked {
            return status;
        }
        let mut status = None;
        // The runtime may be the user's, which may panic, or not wait at all.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            self.runtime().wait(&mut || {
                status.get_or_insert_with(|| self.block(&mut waiting));
            });
        }));
        status.unwrap_or_else(|| self.block(&mut waiting))
    }

    fn block(&self, waiting: &mut Waiting) -> ReplyStatus {
        let mut changing = self.changing();
        loop {
            match waiting.look(self, &changing) {
                Ok(left) => changing = self.wait_for_change(changing, left),
                Err(status) => return status,
            }
        }
    }
}
