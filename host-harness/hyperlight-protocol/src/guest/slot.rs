//! One call's place in the table.

use alloc::{boxed::Box, vec::Vec};
use core::{mem, task::Waker};

use super::{outbox::Place, streams::Streams};
use crate::{CallId, ResultHeader, Status};

/// A slot of the table: it outlives its call, and is used again with another age.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    age: u32,
    pub(super) state: State,
    pub(super) waker: Option<Waker>,
    /// Its input and output, if it has them.
    pub(super) streams: Option<Box<Streams>>,
}

/// Where a call is.
#[derive(Clone, Debug)]
pub(super) enum State {
    Free,
    /// It waits for the next batch.
    Queued(Place),
    /// The host has it, since the batch `number`.
    Sent {
        number: u64,
        incoming: Incoming,
    },
    /// The host has its result, for which the guest had no memory.
    OnHost {
        status: Status,
        total: usize,
        /// Whether it is in the queue of results that tasks wait for.
        is_wanted: bool,
    },
    /// Nothing has taken its result.
    Ended {
        status: Status,
        bytes: Vec<u8>,
        copy: HostCopy,
    },
}

/// Which tasks of a call are woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// The one that awaits the call, or reads its output.
    Reader,
    /// The one that sends its input.
    Writer,
    Both,
}

/// Whether the host has a copy of a result that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostCopy {
    No,
    /// Unless the next batch says so, the host forgets it then.
    UntilNextBatch,
    /// Until the call is cancelled.
    Kept,
}

impl State {
    /// A call that has ended without a result.
    pub(super) fn without_result(status: Status) -> Self {
        Self::Ended {
            status,
            bytes: Vec::new(),
            copy: HostCopy::No,
        }
    }

    /// The bytes of memory that are reserved.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Sent { incoming, .. } => incoming.reserved(),
            Self::Ended { bytes, .. } => bytes.len(),
            Self::Free | Self::Queued(_) | Self::OnHost { .. } => 0,
        }
    }
}

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            age: 0,
            state: State::Free,
            waker: None,
            streams: None,
        }
    }

    /// Takes a waker of its tasks that are woken.
    pub(super) fn take_waker(&mut self, woken: Woken) -> Option<Waker> {
        let reader = self.waker.take_if(|_| woken != Woken::Writer);
        reader.or_else(|| {
            let writer = &mut self.streams.as_mut()?.writer;
            writer.take_if(|_| woken != Woken::Reader)
        })
    }

    /// Whether a task waits for the result: the one that awaits the call, or the one that sends
    /// input, which is told when the call has failed.
    pub(super) fn is_awaited(&self) -> bool {
        let writer = || self.streams.as_ref().and_then(|it| it.writer.as_ref());
        self.waker.as_ref().or_else(writer).is_some()
    }

    /// Marks a result that the host has as one that a task waits for. Returns whether it was not.
    pub(super) fn becomes_wanted(&mut self) -> bool {
        match &mut self.state {
            State::OnHost { is_wanted, .. } => !mem::replace(is_wanted, true),
            _ => false,
        }
    }

    /// The bytes of memory that are reserved, and for which no task waits.
    pub(super) fn idle(&self) -> usize {
        let streams = self.streams.as_ref().filter(|_| self.waker.is_none());
        let piece = streams.map_or(0, |it| it.piece.len());
        let is_idle = !self.is_awaited();
        piece + if is_idle { self.state.held() } else { 0 }
    }

    /// Whether its task waits for a piece of its output, for which there is no memory.
    pub(super) fn waits_for_output(&self) -> bool {
        let is_sent = matches!(self.state, State::Sent { .. });
        is_sent && self.streams.as_ref().is_some_and(|it| it.is_waiting)
    }

    /// Frees the memory of a piece of the output, which the host sends once more when it is asked.
    /// Returns how much.
    pub(super) fn drop_piece(&mut self) -> usize {
        let Some(streams) = &mut self.streams else {
            return 0;
        };
        // The host does not when the call has ended, so the output is not complete.
        if let State::Ended { status, .. } = &mut self.state
            && *status == Status::Done
            && !streams.piece.is_empty()
        {
            *status = Status::Lost;
        }
        streams.drop_piece()
    }

    /// Notes that no more of the output comes, since the result does. Returns whether it was in the
    /// queue of those that wait for memory.
    pub(super) fn end_output(&mut self) -> bool {
        self.streams.as_mut().is_some_and(|streams| {
            streams.is_asked = true;
            mem::take(&mut streams.is_waiting)
        })
    }

    /// Makes the slot one age older; it is slot number `slot`. Returns its next call's number.
    pub(super) fn next_id(&mut self, slot: usize) -> CallId {
        self.age = self.age % CallId::MAX_AGE + 1;
        self.id(slot)
    }

    /// The number of the slot's call.
    pub(super) fn id(&self, slot: usize) -> CallId {
        CallId::new(slot, self.age)
    }

    /// Whether the call `id`, whose number names this slot, is in it.
    pub(super) fn is(&self, id: CallId) -> bool {
        self.age == id.age() && !matches!(self.state, State::Free)
    }

    /// Frees the slot, and returns what was in it.
    pub(super) fn end(&mut self) -> State {
        mem::replace(&mut self.state, State::Free)
    }
}

/// What has come of a result.
#[derive(Clone, Debug, Default)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    /// The status and the length of the whole result, since the first piece.
    whole: Option<(Status, usize)>,
}

/// A piece does not follow the last one, or belongs to another result.
pub(super) struct OutOfPlace;

impl Incoming {
    pub(super) fn is_new(&self) -> bool {
        self.whole.is_none()
    }

    /// The bytes that are reserved.
    pub(super) fn reserved(&self) -> usize {
        self.whole.map_or(0, |(_, total)| total)
    }

    /// The result's status, since the first piece.
    pub(super) fn status(&self) -> Status {
        self.whole.map_or(Status::Lost, |(status, _)| status)
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Reserves memory for the whole result. Returns whether there was enough.
    pub(super) fn reserve(&mut self, status: Status, total: usize) -> bool {
        let has_room = self.bytes.try_reserve_exact(total).is_ok();
        if has_room {
            self.whole = Some((status, total));
        }
        has_room
    }

    /// Takes a piece, for which there is memory. Returns whether the result is complete.
    pub(super) fn append(
        &mut self,
        result: &ResultHeader,
        piece: &[u8],
    ) -> Result<bool, OutOfPlace> {
        let total = result.total as usize;
        let follows = result.offset as usize == self.bytes.len();
        let fits = piece.len() <= total.saturating_sub(self.bytes.len());
        if self.whole != Some((result.status, total)) || !follows || !fits {
            return Err(OutOfPlace);
        }
        self.bytes.extend_from_slice(piece);
        Ok(self.bytes.len() == total)
    }

    pub(super) fn take(&mut self) -> Vec<u8> {
        mem::take(&mut self.bytes)
    }
}
