//! The programs whose connections have ended, and which may still read what the guest has sent.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::connection::Outgoing;

#[derive(Default)]
pub(super) struct Leavers {
    waiting: HashMap<u64, Outgoing>,
}

impl Leavers {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn insert(&mut self, name: u64, leaver: Outgoing) {
        self.waiting.insert(name, leaver);
    }

    /// What is held for each.
    pub(super) fn all(&self) -> impl Iterator<Item = &Outgoing> {
        self.waiting.values()
    }

    /// Gives a program more, if it is one of these.
    pub(super) fn socket_changed(&mut self, name: u64) {
        if let Some(leaver) = self.waiting.get_mut(&name)
            && !leaver.goes_on()
        {
            self.waiting.remove(&name);
        }
    }

    /// Gives each as much as it takes.
    pub(super) fn flush(&mut self) {
        self.waiting.retain(|_, leaver| leaver.goes_on());
    }

    /// Gives all of them what is left, for at most this long as a whole.
    pub(super) fn finish(&mut self, limit: Duration) {
        let end = Instant::now() + limit;
        self.flush();
        while !self.waiting.is_empty() && Instant::now() < end {
            let leavers = self.waiting.values();
            let sockets = leavers.map(|leaver| PollFd::new(&leaver.socket, PollFlags::OUT));
            let mut sockets: Vec<_> = sockets.collect();
            let left = end.saturating_duration_since(Instant::now());
            // If it fails, it is tried again until the end.
            let _ = poll(&mut sockets, Timespec::try_from(left).ok().as_ref());
            self.flush();
        }
    }
}
