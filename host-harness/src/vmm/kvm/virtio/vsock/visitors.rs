//! The programs that have connected and have not yet said which port they want.

use std::{
    collections::HashMap,
    mem,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use rustix::event::epoll::EventFlags;

use super::{
    listener::{Line, Listener, take_line},
    watch::Watch,
};

/// The most visitors. Others are sent away.
pub(super) const MAX_VISITORS: usize = 64;

pub(super) struct Visitors {
    listener: Listener,
    waiting: HashMap<u64, Visitor>,
    /// How long each may take.
    patience: Duration,
    /// Whether more may wait to be accepted.
    pub(super) more_may_wait: bool,
}

pub(super) struct Visitor {
    pub(super) socket: UnixStream,
    pub(super) deadline: Instant,
}

impl Visitors {
    pub(super) fn new(listener: Listener, patience: Duration) -> Self {
        Self {
            listener,
            waiting: HashMap::new(),
            patience,
            more_may_wait: false,
        }
    }

    pub(super) fn listener(&self) -> &Listener {
        &self.listener
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Accepts those that wait, some at a time.
    pub(super) fn accept(&mut self, watch: &mut Watch) {
        for _ in 0..MAX_VISITORS {
            match self.listener.accept() {
                Ok(Some(socket)) => self.came(socket, watch),
                Ok(None) => return,
                // This process may have no room for another file now.
                Err(_) => return watch.set_timer(self.patience),
            }
        }
        self.more_may_wait = true;
    }

    /// Accepts those that were left.
    pub(super) fn accept_more(&mut self, watch: &mut Watch) {
        if mem::take(&mut self.more_may_wait) {
            self.accept(watch);
        }
    }

    fn came(&mut self, socket: UnixStream, watch: &mut Watch) {
        if self.waiting.len() >= MAX_VISITORS {
            return;
        }
        if let Ok(name) = watch.add(&socket) {
            let deadline = Instant::now() + self.patience;
            self.waiting.insert(name, Visitor { socket, deadline });
            watch.set_timer(self.patience);
        }
    }

    /// Hears a visitor, if it is one. Returns it once it has named a port.
    pub(super) fn hear(&mut self, name: u64, events: EventFlags) -> Option<(Visitor, u32)> {
        let visitor = self.waiting.remove(&name)?;
        match take_line(&visitor.socket) {
            Line::Port(port) => return Some((visitor, port)),
            Line::NotYet if !events.intersects(EventFlags::RDHUP | EventFlags::HUP) => {
                self.waiting.insert(name, visitor);
            }
            _ => {}
        }
        None
    }

    /// Sends those away that have taken too long. Returns when that is so of the next.
    pub(super) fn time_passed(&mut self, now: Instant) -> Option<Instant> {
        self.waiting.retain(|_, visitor| visitor.deadline > now);
        self.waiting.values().map(|visitor| visitor.deadline).min()
    }
}
