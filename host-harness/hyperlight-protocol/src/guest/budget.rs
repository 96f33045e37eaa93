//! Which results the guest has in its memory, and which stay on the host until there is memory.
//!
//! What is held is never more than the budget. A result that a task waits for takes precedence: for
//! it, results that none waits for go back to the host, which keeps a copy of each until it is
//! taken. If that is not enough, it stays on the host until other tasks have taken theirs, behind
//! those that came before it. So each result arrives that is within the budget alone.

use alloc::vec::Vec;
use core::mem;

use super::{
    Calls,
    slot::{HostCopy, Incoming, Slot, State, Woken},
    streams::LEAST_PIECE,
};
use crate::{ResultHeader, Status};

impl Calls {
    /// Reserves memory for a result whose first piece has come. If it cannot, the call goes on
    /// without it, or has ended.
    pub(super) fn admit(&mut self, result: &ResultHeader, is_whole: bool) -> bool {
        let ResultHeader { id, status, .. } = *result;
        let total = result.total as usize;
        let is_awaited = self.slots[id.slot()].is_awaited();
        // What is empty needs no memory, and the host has no copy of a refusal.
        let fits = total == 0
            || self.waiting.is_empty() && (self.is_free(total) || is_awaited && self.free(total));
        if total <= self.budget && !fits {
            self.sent -= 1;
            self.slots[id.slot()].state = State::OnHost {
                status,
                total,
                is_wanted: is_awaited,
            };
            if is_awaited {
                self.waiting.push_back(id);
            }
            if is_whole {
                self.arrived.push(id);
            }
            return false;
        }
        let State::Sent { incoming, .. } = &mut self.slots[id.slot()].state else {
            return false;
        };
        let is_admitted = total <= self.budget && incoming.reserve(status, total);
        if is_admitted {
            self.held += total;
        } else {
            if !is_whole {
                self.cancels.push_back(id);
            }
            self.ended(id, Status::TooLarge, Vec::new());
        }
        is_admitted
    }

    /// Makes the host keep the results that the last reply brought to their ends, and that no task
    /// has taken since. To be called for each batch.
    pub(super) fn keep(&mut self) {
        let mut arrived = mem::take(&mut self.arrived);
        for id in arrived.drain(..) {
            let slot = self.slots.get_mut(id.slot()).filter(|slot| slot.is(id));
            let total = match slot.map(|slot| &mut slot.state) {
                Some(State::Ended { bytes, copy, .. }) => {
                    *copy = HostCopy::Kept;
                    bytes.len()
                }
                Some(State::OnHost { total, .. }) => *total,
                // It is asked for once more, or was taken.
                _ => continue,
            };
            self.want(id, total as u32);
        }
        // It keeps its memory.
        self.arrived = arrived;
    }

    /// Asks for the results that tasks wait for, while there is memory. Returns whether that has
    /// ended a call, because there can never be enough.
    pub(super) fn fetch(&mut self) -> bool {
        let mut has_ended = false;
        while let Some(&id) = self.waiting.front() {
            if self.slots[id.slot()].waits_for_output() {
                if !self.free(LEAST_PIECE.min(self.budget)) {
                    break;
                }
                self.waiting.pop_front();
                self.ask_for_output(id);
                continue;
            }
            let State::OnHost { status, total, .. } = self.slots[id.slot()].state else {
                self.waiting.pop_front();
                continue;
            };
            let is_possible = total <= self.budget;
            if is_possible && !self.free(total) {
                break;
            }
            self.waiting.pop_front();
            let mut incoming = Incoming::default();
            let number = self.number;
            if is_possible && incoming.reserve(status, total) {
                self.held += total;
                self.sent += 1;
                self.slots[id.slot()].state = State::Sent { number, incoming };
                self.want(id, 0);
            } else {
                self.cancels.push_back(id);
                self.slots[id.slot()].state = State::without_result(Status::TooLarge);
                self.woken.push_back((id, Woken::Both));
                has_ended = true;
            }
        }
        has_ended
    }

    /// Whether [`fetch`](Self::fetch) would do something.
    pub(super) fn can_fetch(&self) -> bool {
        self.waiting.front().is_some_and(|id| {
            if self.slots[id.slot()].waits_for_output() {
                return self.can_be_free(LEAST_PIECE.min(self.budget));
            }
            let State::OnHost { total, .. } = self.slots[id.slot()].state else {
                return true;
            };
            total > self.budget || self.can_be_free(total)
        })
    }

    fn is_free(&self, bytes: usize) -> bool {
        self.held <= self.budget && bytes <= self.budget - self.held
    }

    /// Whether so much memory is free, or held by results that no task waits for.
    fn can_be_free(&self, bytes: usize) -> bool {
        let idle: usize = self.slots.iter().map(Slot::idle).sum();
        let busy = self.held.saturating_sub(idle);
        busy <= self.budget && bytes <= self.budget - busy
    }

    /// Frees so much memory, if it can.
    pub(super) fn free(&mut self, bytes: usize) -> bool {
        if !self.is_free(bytes) && self.can_be_free(bytes) {
            for slot in 0..self.slots.len() {
                if self.is_free(bytes) {
                    break;
                }
                self.give_back(slot);
            }
        }
        self.is_free(bytes)
    }

    /// Frees the memory of a result, or of a piece of an output, that no task waits for.
    fn give_back(&mut self, index: usize) {
        if self.slots[index].waker.is_none() {
            self.held -= self.slots[index].drop_piece();
        }
        let slot = &mut self.slots[index];
        let (id, held) = (slot.id(index), slot.state.held());
        if slot.is_awaited() || held == 0 {
            return;
        }
        let on_host = |status, total| State::OnHost {
            status,
            total,
            is_wanted: false,
        };
        let (state, was_sent) = match &slot.state {
            State::Sent { incoming, .. } => (on_host(incoming.status(), held), true),
            // It came before the guest was restored, and the host has forgotten it.
            State::Ended {
                copy: HostCopy::No, ..
            } => (State::without_result(Status::Lost), false),
            State::Ended { status, .. } => (on_host(*status, held), false),
            State::Free | State::Queued(_) | State::OnHost { .. } => return,
        };
        slot.state = state;
        self.held -= held;
        if was_sent {
            self.sent -= 1;
            self.forget_want(id);
        }
    }

    /// The host has forgotten what it had of earlier batches.
    pub(super) fn lose_copies(&mut self) {
        self.waiting.clear();
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            match &mut slot.state {
                State::Ended { copy, .. } => *copy = HostCopy::No,
                State::OnHost { .. } => {
                    slot.state = State::without_result(Status::Lost);
                    self.woken.push_back((slot.id(index), Woken::Both));
                }
                _ => {}
            }
        }
    }
}
