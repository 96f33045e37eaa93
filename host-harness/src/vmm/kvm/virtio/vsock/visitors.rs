//! The programs that have connected and have not yet said which port they want.

use std::{
    collections::HashMap,
    mem,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use rustix::event::epoll::EventFlags;

use super::{
    listener::{Line, VsockListener, take_line},
    watch::Watch,
};

/// The most visitors. Others are sent away.
pub(super) const MAX_VISITORS: usize = 64;

pub(super) struct Visitors {
    listener: VsockListener,
    waiting: HashMap<u64, Visitor>,
    /// How long each may take.
    patience: Duration,
    /// Whether some may wait to be accepted.
    pub(super) more_may_wait: bool,
}

pub(super) struct Visitor {
    pub(super) socket: UnixStream,
    pub(super) deadline: Instant,
}

/// A visitor that has named this port.
pub(super) type Named = (Visitor, u32);

impl Visitors {
    pub(super) fn new(listener: VsockListener, patience: Duration) -> Self {
        Self {
            listener,
            waiting: HashMap::new(),
            patience,
            more_may_wait: false,
        }
    }

    pub(super) fn listener(&self) -> &VsockListener {
        &self.listener
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Accepts those that may wait, some at a time. Returns those that have named a port already.
    pub(super) fn accept(&mut self, watch: &mut Watch) -> Vec<(u64, Named)> {
        let mut named = Vec::new();
        if !mem::take(&mut self.more_may_wait) {
            return named;
        }
        for _ in 0..MAX_VISITORS {
            match self.listener.accept() {
                Ok(Some(socket)) => named.extend(self.came(socket, watch)),
                Ok(None) => return named,
                Err(_) => {
                    // This process may have no room for another file now.
                    watch.set_timer(self.patience);
                    return named;
                }
            }
        }
        self.more_may_wait = true;
        named
    }

    /// Drops it if the guest has too many.
    fn came(&mut self, socket: UnixStream, watch: &mut Watch) -> Option<(u64, Named)> {
        if !self.listener.leaves_enough_files(&socket) {
            return None;
        }
        let name = watch.add(&socket).ok()?;
        let deadline = Instant::now() + self.patience;
        watch.set_timer(self.patience);
        let may_wait = self.waiting.len() < MAX_VISITORS;
        let named = self.listen_to(name, Visitor { socket, deadline }, may_wait)?;
        Some((name, named))
    }

    /// Hears a visitor, if it is one. Returns it once it has named a port.
    pub(super) fn hear(&mut self, name: u64, events: EventFlags) -> Option<Named> {
        let visitor = self.waiting.remove(&name)?;
        let may_wait = !events.intersects(EventFlags::RDHUP | EventFlags::HUP);
        self.listen_to(name, visitor, may_wait)
    }

    fn listen_to(&mut self, name: u64, visitor: Visitor, may_wait: bool) -> Option<Named> {
        match take_line(&visitor.socket) {
            Line::Port(port) => return Some((visitor, port)),
            Line::NotYet if may_wait => drop(self.waiting.insert(name, visitor)),
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
