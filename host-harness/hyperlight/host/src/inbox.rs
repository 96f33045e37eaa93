//! [`Inbox`]: what has come over a connection, between the thread that reads it and the one that
//! answers.

use std::{collections::VecDeque, time::Duration};

use crate::state::HostState;

/// The batches that wait to be answered. There is one at most, so that a guest that sends more of
/// them than it may fills the connection, and no memory.
#[derive(Default)]
pub(crate) struct Inbox {
    batches: VecDeque<Vec<u8>>,
    /// Whether nothing comes any more.
    is_closed: bool,
}

/// The most batches in an [`Inbox`].
const MOST: usize = 1;

impl Inbox {
    /// Whether the guest is not to wait for a reply any more. Never so in a sandbox.
    pub(crate) fn ends_waits(&self) -> bool {
        !self.batches.is_empty() || self.is_closed
    }
}

impl HostState {
    /// Makes the inbox ready for another connection.
    pub(crate) fn open_inbox(&self) {
        self.changing().inbox = Inbox::default();
    }

    /// Nothing comes any more, and nothing is taken.
    pub(crate) fn close_inbox(&self) {
        self.changing().inbox.is_closed = true;
        self.notify();
    }

    /// Adds a batch, when there is room. Returns `false` if the inbox is closed.
    pub(crate) fn put_batch(&self, batch: Vec<u8>) -> bool {
        let mut changing = self.changing();
        while changing.inbox.batches.len() >= MOST && !changing.inbox.is_closed {
            changing = self.wait_for_change(changing, Duration::MAX);
        }
        if changing.inbox.is_closed {
            return false;
        }
        changing.inbox.batches.push_back(batch);
        drop(changing);
        self.notify();
        true
    }

    /// Waits for a batch; `None` once the inbox is closed.
    pub(crate) fn next_batch(&self) -> Option<Vec<u8>> {
        let mut changing = self.changing();
        loop {
            if changing.inbox.is_closed {
                return None;
            }
            if let Some(batch) = changing.inbox.batches.pop_front() {
                drop(changing);
                self.notify();
                return Some(batch);
            }
            changing = self.wait_for_change(changing, Duration::MAX);
        }
    }
}
