//! [`Inbox`]: what has come over a connection, between the thread that reads it and the one that
//! answers.

use std::collections::VecDeque;

/// The batches that wait to be answered, one at most: so a guest that sends more of them than it
/// may fills the connection, and no memory.
#[derive(Default)]
pub(crate) struct Inbox {
    batches: VecDeque<Vec<u8>>,
    /// Whether nothing comes any more, and nothing is taken.
    pub(crate) is_closed: bool,
}

/// The most batches in an [`Inbox`].
const MOST: usize = 1;

impl Inbox {
    /// Whether the guest is not to wait for a reply any more. Never so in a sandbox.
    pub(crate) fn ends_waits(&self) -> bool {
        !self.batches.is_empty() || self.is_closed
    }

    pub(crate) fn has_room(&self) -> bool {
        self.batches.len() < MOST
    }

    /// Adds a batch, for which there is room.
    pub(crate) fn put(&mut self, batch: Vec<u8>) {
        self.batches.push_back(batch);
    }

    /// Takes the first batch.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        self.batches.pop_front()
    }
}
