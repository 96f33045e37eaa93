//! [`Calls`]: what a guest has in flight.
//!
//! This has no part in how a batch gets to the host, so that tests can run both sides in one
//! process.

use alloc::{collections::VecDeque, vec::Vec};
use core::{mem, task::Waker};

use crate::{CallId, Kind};
pub use error::CallError;
pub use link::{Link, LinkError};
use outbox::Outboxes;
use slot::{HostCopy, Slot, State, Woken};
pub use streaming::{InputProgress, OutputProgress};

mod budget;
mod digest;
mod error;
mod exchange;
mod link;
mod outbox;
mod slot;
mod streaming;
mod streams;

/// The budget for results that have arrived and were not taken, if none is set.
const DEFAULT_BUDGET: usize = 40 * 1024;

/// What a call ends with.
pub type CallResult = Result<Vec<u8>, CallError>;

/// Where a call is, for the future that waits for it.
#[derive(Debug)]
pub enum Progress {
    /// It has ended, and its slot is free again.
    Ended(CallResult),
    /// It goes on. Whether its waker wakes the same task as the one that was passed.
    Waits(bool),
}

/// The calls in flight, and what the next batch will say. A clone is a snapshot of a guest.
#[derive(Clone, Debug)]
pub struct Calls {
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// The calls that were not sent.
    outboxes: Outboxes,
    /// What else the next batches will say. The first `batched` of each are in a batch that was
    /// sent without an answer.
    cancels: VecDeque<CallId>,
    wants: VecDeque<(CallId, u32)>,
    batched: Batched,
    /// The calls with input to send.
    inputs: VecDeque<CallId>,
    /// Whether the last batch had no space for one of them, so that the next has no calls.
    is_input_due: bool,
    /// Calls whose results or pieces of outputs the host has, and for which tasks wait, until there
    /// is memory for them.
    waiting: VecDeque<CallId>,
    /// Calls whose results the last reply brought to their ends.
    arrived: Vec<CallId>,
    /// Calls that have ended or whose streams go on, whose wakers were not taken.
    woken: VecDeque<(CallId, Woken)>,
    /// The wakers of tasks that send input to calls that are not there any more, and others that
    /// are of no use.
    writers: Vec<Waker>,
    /// The number of calls that the host has, as far as is known.
    sent: usize,
    /// The bytes reserved for results.
    held: usize,
    budget: usize,
    generation: u64,
    /// The number of the last batch that was acknowledged.
    number: u64,
    /// How often the next batch was sent, without an answer.
    attempts: u32,
    /// The digest of its first attempt.
    digest: u64,
    /// Whether there is no host any more, so that each new call ends as lost.
    is_closed: bool,
}

/// How many elements of each queue are in a batch.
#[derive(Clone, Copy, Debug, Default)]
struct Batched {
    cancels: usize,
    wants: usize,
}

impl Calls {
    /// No calls. Needs no memory until the first.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            outboxes: Outboxes::new(),
            cancels: VecDeque::new(),
            wants: VecDeque::new(),
            batched: Batched {
                cancels: 0,
                wants: 0,
            },
            inputs: VecDeque::new(),
            is_input_due: false,
            waiting: VecDeque::new(),
            arrived: Vec::new(),
            woken: VecDeque::new(),
            writers: Vec::new(),
            sent: 0,
            held: 0,
            budget: DEFAULT_BUDGET,
            generation: 0,
            number: 0,
            attempts: 0,
            digest: 0,
            is_closed: false,
        }
    }

    /// Limits the bytes of results that have arrived and were not taken. A result that is larger
    /// ends its call with [`CallError::TooLarge`]. Others come when there is memory for them: a
    /// result for which a task waits replaces those for which none waits, of which the host keeps
    /// copies.
    pub fn set_budget(&mut self, bytes: usize) {
        self.budget = bytes;
    }

    /// Queues a call for the next batch.
    ///
    /// # Errors
    ///
    /// `TooLarge` if it fits into no batch; `Busy` if there are too many calls; `Lost` if the
    /// connection to the host has [ended](Self::disconnected).
    pub fn call(&mut self, name: &str, argument: &[u8]) -> Result<CallId, CallError> {
        self.queue(Kind::Request, name, argument)
    }

    fn queue(&mut self, kind: Kind, name: &str, argument: &[u8]) -> Result<CallId, CallError> {
        if self.is_closed {
            return Err(CallError::Lost);
        }
        if !Outboxes::fits(name, argument) {
            return Err(CallError::TooLarge);
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < CallId::SLOTS => {
                self.slots.push(Slot::new());
                self.slots.len() - 1
            }
            None => return Err(CallError::Busy),
        };
        let id = self.slots[slot].next_id(slot);
        let place = self.outboxes.push(kind, id, name, argument);
        self.slots[slot].state = State::Queued(place);
        Ok(id)
    }

    /// Whether what is queued fills a batch, so that it should be sent before the next idle.
    #[must_use]
    pub fn fills_a_batch(&self) -> bool {
        self.outboxes.len() > 1
    }

    /// Whether something is queued for the host.
    #[must_use]
    pub fn has_news(&self) -> bool {
        let has_calls = self.outboxes.len() > 0 || !self.cancels.is_empty();
        has_calls || !self.wants.is_empty() || !self.inputs.is_empty() || self.can_fetch()
    }

    /// Whether calls that the host has are to be cancelled.
    #[must_use]
    pub fn has_cancels(&self) -> bool {
        !self.cancels.is_empty()
    }

    /// Whether the host has calls, or will have them after the next batch.
    #[must_use]
    pub fn expects(&self) -> bool {
        self.sent > 0 || self.outboxes.len() > 0 || !self.waiting.is_empty()
    }

    /// Looks after the call `id`. If it has ended, this takes its result.
    pub fn poll(&mut self, id: CallId, waker: &Waker) -> Progress {
        let Some(slot) = self.slots.get_mut(id.slot()).filter(|slot| slot.is(id)) else {
            return Progress::Ended(Err(CallError::Lost));
        };
        if let State::Ended { status, bytes, .. } = &mut slot.state {
            let (status, bytes) = (*status, mem::take(bytes));
            self.held -= bytes.len();
            self.release(id);
            return Progress::Ended(CallError::of(status, bytes));
        }
        if slot.becomes_wanted() {
            self.waiting.push_back(id);
        }
        let same = slot.waker.as_ref().is_some_and(|own| own.will_wake(waker));
        Progress::Waits(same)
    }

    /// Sets the waker of the call `id`. Returns the one before, or this one if the call has ended:
    /// it is to be dropped outside of any critical section.
    pub fn set_waker(&mut self, id: CallId, waker: Waker) -> Option<Waker> {
        match self.slots.get_mut(id.slot()).filter(|slot| slot.is(id)) {
            Some(slot) => slot.waker.replace(waker),
            None => Some(waker),
        }
    }

    /// Ends the call `id`, which nothing awaits any more: before it is sent, or by a cancellation
    /// in the next batch. Returns its waker, to be dropped outside of any critical section.
    pub fn cancel(&mut self, id: CallId) -> Option<Waker> {
        let slot = self.slots.get_mut(id.slot()).filter(|slot| slot.is(id))?;
        let waker = slot.waker.take();
        self.held -= slot.state.held();
        self.release(id);
        waker
    }

    /// Frees the slot of a call that is in one, and whose memory counts no more.
    fn release(&mut self, id: CallId) {
        let is_on_host = match self.slots[id.slot()].end() {
            State::Queued(place) => {
                self.outboxes.remove(place);
                false
            }
            State::Sent { .. } => {
                self.sent -= 1;
                self.forget_want(id);
                true
            }
            State::OnHost { .. } => {
                self.waiting.retain(|waiting| *waiting != id);
                self.forget_want(id);
                true
            }
            State::Ended { copy, .. } => copy == HostCopy::Kept,
            State::Free => false,
        };
        if is_on_host {
            self.cancels.push_back(id);
        }
        self.end_streams(id);
        self.free.push(id.slot());
    }

    /// Takes one waker of a call that has ended, to be woken outside of any critical section.
    pub fn next_woken(&mut self) -> Option<Waker> {
        if let Some(writer) = self.writers.pop() {
            return Some(writer);
        }
        loop {
            let (id, woken) = *self.woken.front()?;
            let slot = self.slots.get_mut(id.slot()).filter(|slot| slot.is(id));
            if let Some(waker) = slot.and_then(|slot| slot.take_waker(woken)) {
                return Some(waker);
            }
            self.woken.pop_front();
        }
    }

    /// The number of slots in use, for tests.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The bytes reserved for results, for tests.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
