//! A port that is listened on.

use alloc::collections::VecDeque;
use core::task::Waker;

use super::deferred::Deferred;
use crate::waiting::Waiting;

/// The connections that wait to be accepted, and the tasks that wait for one.
#[derive(Default)]
pub(super) struct Listening {
    backlog: VecDeque<u64>,
    waiting: Waiting,
}

impl Listening {
    /// Whether one more connection may wait, if so many may for which there is no task.
    pub(super) fn has_place(&self, backlog: usize) -> bool {
        self.backlog.len() < backlog.saturating_add(self.waiting.len())
    }

    pub(super) fn add(&mut self, connection: u64, deferred: &mut Deferred) {
        self.backlog.push_back(connection);
        self.wake_one(deferred);
    }

    pub(super) fn remove(&mut self, connection: u64) {
        self.backlog.retain(|id| *id != connection);
    }

    /// Takes a connection for the task `me`. If there is none, stores its waker, and leaves one
    /// that is not needed in `waker`.
    pub(super) fn accept(
        &mut self,
        me: u64,
        waker: &mut Option<Waker>,
        deferred: &mut Deferred,
    ) -> Option<u64> {
        let connection = self.backlog.pop_front();
        match connection {
            Some(_) => self.stop_waiting(me, deferred),
            None => self.waiting.add(me, waker),
        }
        connection
    }

    /// The task `me` no longer waits. If it was woken, another one is in its place.
    pub(super) fn stop_waiting(&mut self, me: u64, deferred: &mut Deferred) {
        deferred.drop(&mut self.waiting.remove(me));
        self.wake_one(deferred);
    }

    fn wake_one(&mut self, deferred: &mut Deferred) {
        if !self.backlog.is_empty() {
            deferred.wake(&mut self.waiting.take_first_waker());
        }
    }

    pub(super) fn wake_all(&mut self, deferred: &mut Deferred) {
        while let Some(waker) = self.waiting.take_waker() {
            deferred.wake(&mut Some(waker));
        }
    }

    /// The connections that nobody has accepted.
    pub(super) fn into_backlog(self) -> VecDeque<u64> {
        self.backlog
    }
}
