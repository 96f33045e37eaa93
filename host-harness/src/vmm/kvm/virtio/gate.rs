//! Who uses a device's transport: its own thread, for a request at a time, or the vCPU's thread,
//! for an access of the guest.
//!
//! A request may wait for the host's storage for any time. The vCPU's thread waits for it, but no
//! longer than until the run is over.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::transport::Transport;

/// How often the vCPU's thread looks whether the run is over.
const INTERVAL: Duration = Duration::from_millis(20);

pub(super) struct Gate {
    state: Mutex<State>,
    /// The transport is back, or the last access that waited is over.
    changed: Condvar,
}

struct State {
    /// `None` while a request is served.
    transport: Option<Box<Transport>>,
    /// The accesses that wait for it. They come before further requests.
    accesses: usize,
    /// Whether a request waits for an access.
    request_waits: bool,
}

impl Gate {
    pub(super) fn new(transport: Transport) -> Self {
        Self {
            state: Mutex::new(State {
                transport: Some(Box::new(transport)),
                accesses: 0,
                request_waits: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Calls `access`, which must be short, when no request is served. `None`: `leave` was set
    /// before.
    pub(super) fn access<R>(
        &self,
        leave: &AtomicBool,
        access: impl FnOnce(&mut Transport) -> R,
    ) -> Option<R> {
        let mut state = self.lock();
        state.accesses += 1;
        while state.transport.is_none() && !leave.load(Ordering::SeqCst) {
            let waited = self.changed.wait_timeout(state, INTERVAL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.accesses -= 1;
        if state.accesses == 0 && state.request_waits {
            self.changed.notify_all();
        }
        state.transport.as_deref_mut().map(access)
    }

    /// Calls `serve`, which may take any time. The device's thread does so, no other.
    pub(super) fn serve<R>(&self, serve: impl FnOnce(&mut Transport) -> R) -> R {
        let mut state = self.lock();
        let transport = loop {
            let may_take = state.accesses == 0;
            if let Some(transport) = may_take.then(|| state.transport.take()).flatten() {
                break transport;
            }
            state.request_waits = true;
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
            state.request_waits = false;
        };
        drop(state);
        let mut taken = Taken {
            gate: self,
            transport: Some(transport),
        };
        let transport = taken.transport.as_deref_mut();
        serve(transport.expect("it was taken"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the transport back.
struct Taken<'a> {
    gate: &'a Gate,
    transport: Option<Box<Transport>>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.transport = self.transport.take();
        if state.accesses > 0 {
            self.gate.changed.notify_all();
        }
    }
}
