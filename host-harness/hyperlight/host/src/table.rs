//! The calls that a guest has on this host: running, finished and not collected, or sent and not
//! acknowledged. All of it is bounded by [`Limits`], whatever the guest sends.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::Waker,
};

use dormir_hyperlight_protocol::{CallId, MAX_RECORDS, Status};

use crate::{
    limits::{Count, Counted, Limits},
    task::CallTask,
};

mod replies;
mod room;
mod streams;

use replies::Sent;
use streams::Streams;
pub(crate) use streams::{Polled, STREAMS};

#[derive(Default)]
pub(crate) struct Table {
    pub(crate) limits: Limits,
    entries: HashMap<CallId, Entry>,
    /// The calls of which something is to be sent, in their order: finished ones, and running ones
    /// with streams.
    ready: VecDeque<CallId>,
    /// Calls that were not started, and why.
    refusals: VecDeque<(CallId, Status)>,
    signals: BTreeMap<u8, u32>,
    /// What was in the last reply. It may not have arrived.
    sent: Sent,
    /// The same of the reply before, if an early batch has come since.
    sent_before: Sent,
    /// The calls that exist here in any form, also those that are no entries any more.
    count: Count,
    /// The bytes of arguments of functions whose futures exist, and of results.
    bytes: usize,
    started: u64,
}

enum Entry {
    Running {
        task: Arc<CallTask>,
        serial: u64,
        counted: Arc<Counted>,
        streams: Option<Box<Streams>>,
    },
    Finished(Finished),
}

struct Finished {
    status: Status,
    bytes: Vec<u8>,
    /// How much was sent.
    next: usize,
    /// Whether it is in `ready`.
    is_ready: bool,
    _counted: Arc<Counted>,
}

/// What a call is noted by.
#[derive(Clone, Copy)]
pub(crate) struct Started {
    pub(crate) id: CallId,
    /// No two calls have the same, although their ids may be the same.
    pub(crate) serial: u64,
    pub(crate) argument: usize,
}

/// Calls whose futures are to be dropped, and wakers of functions that are to be woken, while
/// nothing is locked.
#[derive(Default)]
#[must_use]
pub(crate) struct Aborts {
    tasks: Vec<Arc<CallTask>>,
    wakers: Vec<Waker>,
}

impl Aborts {
    pub(crate) fn abort(self) {
        for task in self.tasks {
            task.abort();
        }
        for waker in self.wakers {
            // A waker of the user's runtime, which may panic.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

impl Table {
    /// The calls that count against the limit.
    pub(crate) fn calls(&self) -> usize {
        self.count.get()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn started(&self) -> u64 {
        self.started
    }

    /// Whether a call runs that can go on without the guest.
    pub(crate) fn works(&self) -> bool {
        self.entries.values().any(|entry| match entry {
            Entry::Running { streams, .. } => {
                !streams.as_ref().is_some_and(|it| it.wait_for_the_guest())
            }
            Entry::Finished(_) => false,
        })
    }

    /// Whether a call runs of which `is_so` holds.
    pub(crate) fn any_running(&self, is_so: impl Fn(&CallTask) -> bool) -> bool {
        let mut entries = self.entries.values();
        entries.any(|entry| matches!(entry, Entry::Running { task, .. } if is_so(task)))
    }

    /// Notes a call, which is to be started with `begin`, unless the limits are reached; its
    /// argument, and its streams if it has them, count for `argument` bytes. A number that is in
    /// use is ignored: the guest is not to be trusted.
    pub(crate) fn start(
        &mut self,
        id: CallId,
        argument: usize,
        has_streams: bool,
        begin: impl FnOnce(Started, Arc<Counted>) -> Arc<CallTask>,
    ) -> Option<Arc<CallTask>> {
        if self.entries.contains_key(&id) {
            return None;
        }
        let bytes = self.bytes.saturating_add(argument);
        if self.calls() >= self.limits.calls || bytes > self.limits.bytes {
            self.refuse(id, Status::Busy);
            return None;
        }
        self.started += 1;
        let serial = self.started;
        let counted = self.count.add();
        let started = Started {
            id,
            serial,
            argument,
        };
        let task = begin(started, Arc::clone(&counted));
        self.bytes = bytes;
        let entry = Entry::Running {
            task: Arc::clone(&task),
            serial,
            counted,
            streams: has_streams.then(Streams::new),
        };
        self.entries.insert(id, entry);
        Some(task)
    }

    /// Notes that a call is not started. A guest that does not collect such notes loses them: it
    /// can have no more than this many calls.
    pub(crate) fn refuse(&mut self, id: CallId, status: Status) {
        if self.refusals.len() < MAX_RECORDS {
            self.refusals.push_back((id, status));
        }
    }

    /// The future of a call is gone. Without a result it was ended before.
    pub(crate) fn ended(
        &mut self,
        started: Started,
        result: Option<(Status, Vec<u8>)>,
        aborts: &mut Aborts,
    ) {
        self.bytes -= started.argument;
        match self.entries.get(&started.id) {
            Some(Entry::Running { serial, .. }) if *serial == started.serial => {}
            _ => return,
        }
        let (status, bytes) = result.unwrap_or((Status::Lost, Vec::new()));
        let fits = self.bytes.saturating_add(bytes.len()) <= self.limits.bytes
            && u32::try_from(bytes.len()).is_ok();
        if fits {
            self.finish(started.id, status, bytes, aborts);
        } else {
            self.finish(started.id, Status::TooLarge, Vec::new(), aborts);
        }
    }

    /// Notes the end of a call that runs.
    fn finish(&mut self, id: CallId, status: Status, bytes: Vec<u8>, aborts: &mut Aborts) {
        let Some(Entry::Running {
            counted, streams, ..
        }) = self.entries.remove(&id)
        else {
            return;
        };
        self.end_streams(id, streams, aborts);
        self.bytes += bytes.len();
        let finished = Finished {
            status,
            bytes,
            next: 0,
            is_ready: true,
            _counted: counted,
        };
        self.entries.insert(id, Entry::Finished(finished));
        self.ready.push_back(id);
    }

    /// The guest does not want a call's result any more.
    pub(crate) fn cancel(&mut self, id: CallId, aborts: &mut Aborts) {
        match self.entries.remove(&id) {
            Some(Entry::Running { task, streams, .. }) => {
                self.end_streams(id, streams, aborts);
                aborts.tasks.push(task);
            }
            Some(Entry::Finished(finished)) => {
                self.bytes -= finished.bytes.len();
                if finished.is_ready {
                    self.ready.retain(|ready| *ready != id);
                }
            }
            None => self.refusals.retain(|(refused, _)| *refused != id),
        }
    }

    /// The guest goes on to need a result that was in the last reply, to its end.
    pub(crate) fn keep(&mut self, id: CallId) {
        if self.entries.contains_key(&id) {
            return;
        }
        let replies = [&mut self.sent, &mut self.sent_before];
        let mut pieces = replies.into_iter().flat_map(|sent| &mut sent.pieces);
        let ended = pieces.find_map(|piece| piece.ended.take_if(|_| piece.id == id));
        if let Some(ended) = ended {
            self.entries.insert(id, Entry::Finished(ended));
        }
    }

    /// Ends a call that runs, if it does, as lost.
    fn lose(&mut self, id: CallId, aborts: &mut Aborts) {
        if let Some(Entry::Running { task, .. }) = self.entries.get(&id) {
            aborts.tasks.push(Arc::clone(task));
            self.finish(id, Status::Lost, Vec::new(), aborts);
        }
    }

    fn end_streams(&mut self, id: CallId, streams: Option<Box<Streams>>, aborts: &mut Aborts) {
        if let Some(streams) = streams {
            if streams.is_ready {
                self.ready.retain(|ready| *ready != id);
            }
            streams.end(aborts);
        }
    }

    /// The guest has room for what follows the first `offset` bytes of a result or an output.
    pub(crate) fn more(&mut self, id: CallId, offset: u32, aborts: &mut Aborts) {
        self.more_output(id, offset, aborts);
        if let Some(Entry::Finished(finished)) = self.entries.get_mut(&id) {
            let offset = offset as usize;
            // What is sent from its beginning need not be asked for: the guest asked for an output
            // when it did not know yet that the call has ended.
            let is_due = finished.is_ready && finished.next == 0;
            if offset < finished.bytes.len() && !is_due {
                finished.next = offset;
                if !mem::replace(&mut finished.is_ready, true) {
                    self.ready.push_back(id);
                }
            }
        }
    }

    pub(crate) fn signal(&mut self, event: u8, count: u32) {
        let signals = self.signals.entry(event).or_default();
        *signals = signals.saturating_add(count);
    }

    /// Ends all calls that run as lost.
    #[cfg(any(test, feature = "hyperlight"))]
    pub(crate) fn lose_all(&mut self, aborts: &mut Aborts) {
        let ids: Vec<_> = self.entries.keys().copied().collect();
        for id in ids {
            self.lose(id, aborts);
        }
    }

    /// Forgets all calls: the guest that made them is not there any more.
    pub(crate) fn clear(&mut self, aborts: &mut Aborts) {
        self.acknowledge(true);
        for (_, entry) in self.entries.drain() {
            match entry {
                Entry::Running { task, streams, .. } => {
                    aborts.tasks.push(task);
                    if let Some(streams) = streams {
                        streams.end(aborts);
                    }
                }
                Entry::Finished(finished) => self.bytes -= finished.bytes.len(),
            }
        }
        self.ready.clear();
        self.refusals.clear();
    }
}
