//! [`Link`]: exchanges over a connection, which a host answers when it has something.

use alloc::vec::Vec;
use core::fmt;

use super::{
    Batched, Calls,
    slot::{State, Woken},
};
use crate::{Flags, NO_DEADLINE, Reply, ReplyStatus, STALLED, Status, frame};

/// The most batches without a reply.
const MOST: u64 = 2;

/// A guest's end of a connection to its host, from its first message on. How the bytes get there is
/// not its part.
#[derive(Debug, Default)]
pub struct Link {
    /// The batches that were sent and not answered.
    unanswered: u64,
}

/// Why a connection cannot go on. It is to be [ended](Calls::disconnected).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// The host has sent what is no reply to a batch of this guest.
    Unsound,
    /// The host has ended it.
    Cancelled,
    /// The host's runtime does not run the guest's calls.
    Stalled,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsound => {
                "the host has sent what is no reply to this guest: use a new connection for each \
                 run, and give the host the dormir-hyperlight-host of the guest's version"
            }
            Self::Cancelled => "the host has ended the connection",
            Self::Stalled => STALLED,
        })
    }
}

impl core::error::Error for LinkError {}

impl Link {
    /// A new connection.
    #[must_use]
    pub const fn new() -> Self {
        Self { unanswered: 0 }
    }

    /// Whether the next batch is to be sent: something is queued, or the host has something to wait
    /// for and no batch to answer.
    #[must_use]
    pub fn is_due(&self, calls: &Calls, awaits_events: bool) -> bool {
        match self.unanswered {
            0 => calls.has_news() || calls.expects() || awaits_events,
            // The first reply has the generation, without which a host takes a batch for the first.
            unanswered => unanswered < MOST && calls.generation != 0 && calls.has_news(),
        }
    }

    /// Writes the next batch, when it is [due](Self::is_due), behind its length. Afterwards, wake
    /// [what was woken](Calls::next_woken).
    #[must_use]
    pub fn batch(&mut self, calls: &mut Calls, awaits_events: bool) -> Vec<u8> {
        let flags = Flags {
            is_first: calls.generation == 0,
            is_early: self.unanswered > 0,
            expects: awaits_events,
            ..Flags::default()
        };
        // No other can release the first one, so the host answers it at once.
        let has_wait = !flags.is_first && (awaits_events || calls.expects());
        let mut bytes = calls.write_batch(if has_wait { NO_DEADLINE } else { 0 }, flags);
        // It arrives, or the connection ends.
        calls.acknowledged(calls.generation);
        self.unanswered += 1;
        let prefix = frame::prefix(bytes.len());
        bytes.splice(..0, prefix);
        bytes
    }

    /// Takes a message, without its length, but for signals of events, which the reply has.
    /// Afterwards, wake [what was woken](Calls::next_woken).
    ///
    /// # Errors
    ///
    /// The connection cannot go on.
    pub fn take<'a>(
        &mut self,
        calls: &mut Calls,
        message: &'a [u8],
    ) -> Result<Reply<'a>, LinkError> {
        let reply = Reply::parse(message).ok_or(LinkError::Unsound)?;
        let header = reply.header;
        let first = calls.number.wrapping_sub(self.unanswered).wrapping_add(1);
        let is_same = [0, header.generation].contains(&calls.generation);
        if self.unanswered == 0 || header.number != first || !is_same {
            return Err(LinkError::Unsound);
        }
        self.unanswered -= 1;
        calls.generation = header.generation;
        calls.take_records(&reply);
        match header.status {
            ReplyStatus::Done | ReplyStatus::TooLong => Ok(reply),
            ReplyStatus::BadBatch => Err(LinkError::Unsound),
            ReplyStatus::Cancelled => Err(LinkError::Cancelled),
            ReplyStatus::Stalled => Err(LinkError::Stalled),
        }
    }
}

impl Calls {
    /// A connection to a host has begun: new calls are sent over it, and those that were queued.
    pub fn connected(&mut self) {
        self.is_closed = false;
    }

    /// The connection to the host has ended: all calls have ended as lost, and new ones do, until
    /// another is [there](Self::connected). Results that have arrived stay. Afterwards, wake [what
    /// was woken](Self::next_woken).
    pub fn disconnected(&mut self) {
        self.is_closed = true;
        self.generation = 0;
        self.attempts = 0;
        self.batched = Batched::default();
        self.outboxes.clear();
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if matches!(slot.state, State::Queued(_)) {
                slot.state = State::without_result(Status::Lost);
                self.woken.push_back((slot.id(index), Woken::Both));
            }
        }
        self.lose(|_, _| true, false);
        self.lose_copies();
        self.cancels.clear();
        self.wants.clear();
        self.inputs.clear();
        self.is_input_due = false;
        self.arrived.clear();
    }
}

#[cfg(test)]
mod tests;
