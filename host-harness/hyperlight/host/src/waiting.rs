//! The wait of an exchange: for news, and then for more of it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use dormir_hyperlight_protocol::ReplyStatus;

use crate::{
    stall::Stalled,
    state::{Changing, HostState},
    task::CallTask,
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
        if changing.inbox.ends_waits() {
            return Err(ReplyStatus::Done);
        }
        let now = Instant::now();
        let mut until = self.end;
        let mut look_in = Duration::MAX;
        let has_news = changing.calls.has_news(self.room);
        if has_news {
            let lingers = *self
                .lingers_until
                .get_or_insert_with(|| now.checked_add(changing.linger));
            if !changing.calls.works() || changing.calls.fills(self.room) {
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
    /// Starts the tasks, and waits as the runtime wants it, if there is anything to wait for.
    /// Without a wait, this returns how the exchange ends.
    pub(crate) fn start_and_wait(
        &self,
        tasks: Vec<Arc<CallTask>>,
        mut waiting: Result<Waiting, ReplyStatus>,
    ) -> ReplyStatus {
        let mut tasks = tasks.into_iter();
        if tasks.len() == 0 {
            let changing = self.changing();
            let looked = match &mut waiting {
                Ok(waiting) => waiting.look(self, &changing).err(),
                Err(status) => Some(*status),
            };
            // Earlier tasks that were not polled may need this thread.
            if let Some(status) = looked
                && !changing.calls.any_running(CallTask::is_new)
            {
                return status;
            }
        }
        let mut status = None;
        let mut work = || {
            tasks.by_ref().for_each(|task| self.spawn(task));
            *status.get_or_insert_with(|| match &mut waiting {
                Ok(waiting) => self.block(waiting),
                Err(status) => *status,
            })
        };
        // The runtime may be the user's, which may panic, or not wait at all.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            self.runtime().wait(&mut || {
                work();
            });
        }));
        work()
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
