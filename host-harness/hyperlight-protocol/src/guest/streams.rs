//! The input and the output of a call, as the guest has them.

use alloc::{boxed::Box, vec::Vec};
use core::{mem, task::Waker};

use crate::STREAM_WINDOW;

/// The least of a longer piece that is put into a batch, or is asked for.
pub(super) const LEAST_PIECE: usize = 1024;

/// The input and the output of a call, as the guest has them. Offsets count modulo 2^32.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    /// What has come of the output, and was not taken.
    pub(super) piece: Vec<u8>,
    /// How much of the output has come.
    pub(super) arrived: u32,
    /// Whether the host may send the next piece, or there is none.
    pub(super) is_asked: bool,
    /// Whether it is in the queue of those that wait for memory.
    pub(super) is_waiting: bool,
    /// Whether it was the first in that queue, when it was asked for.
    pub(super) has_turn: bool,
    /// What is to be sent of the input.
    pub(super) unsent: Vec<u8>,
    /// How much of the input was sent.
    pub(super) sent: u32,
    /// How much the host's function has taken, as far as is known.
    pub(super) taken: u32,
    pub(super) end: End,
    /// Whether its reader has learned of the call's end, which its sender may do later.
    pub(super) is_read: bool,
    /// Whether it is in the queue of those with something to send.
    pub(super) is_queued: bool,
    /// The batch in which something of the input was sent last.
    pub(super) last_sent: u64,
    /// Wakes the task that sends.
    pub(super) writer: Option<Waker>,
}

/// The end of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// More may be queued.
    Open,
    IsToBeSent,
    /// It was sent, or there is nothing to send it to.
    Closed,
}

impl Streams {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            piece: Vec::new(),
            arrived: 0,
            // The first piece comes unasked.
            is_asked: true,
            is_waiting: false,
            has_turn: false,
            unsent: Vec::new(),
            sent: 0,
            taken: 0,
            end: End::Open,
            is_read: false,
            is_queued: false,
            last_sent: 0,
            writer: None,
        })
    }

    /// How many bytes of input may be added, of which `most` wait to be sent.
    pub(super) fn room(&self, most: usize) -> usize {
        let sent = self.sent.wrapping_sub(self.taken) as usize;
        let most = most.min(STREAM_WINDOW.saturating_sub(sent));
        most.saturating_sub(self.unsent.len())
    }

    /// Adds input for which there is room. Returns `false` if there is no memory for it.
    pub(super) fn queue(&mut self, bytes: &[u8]) -> bool {
        let length = self.unsent.len() + bytes.len();
        // It doubles, as other vectors do, and ends at the window.
        let capacity = (2 * self.unsent.capacity()).clamp(length, STREAM_WINDOW);
        let more = capacity - self.unsent.len();
        let has_memory = self.unsent.try_reserve_exact(more).is_ok();
        if has_memory {
            self.unsent.extend_from_slice(bytes);
        }
        has_memory
    }

    /// Frees the piece that was not taken. Returns its length.
    pub(super) fn drop_piece(&mut self) -> usize {
        let piece = mem::take(&mut self.piece);
        self.arrived = self.arrived.wrapping_sub(piece.len() as u32);
        piece.len()
    }

    pub(super) fn has_input(&self) -> bool {
        !self.unsent.is_empty() || self.end == End::IsToBeSent
    }
}
