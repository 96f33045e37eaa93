//! The calls that a guest has on this host: running, finished and not collected, or sent and not
//! acknowledged. All of it is bounded by [`Limits`], whatever the guest sends.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    mem,
    sync::Arc,
};

use dormir_hyperlight_protocol::{
    CallId, FromHost, MAX_RECORDS, RESULT_HEADER, ResultHeader, SIGNAL_LEN, Status,
};

use crate::{
    limits::{Count, Counted, Limits},
    task::CallTask,
};

/// The least room for results that is used: with less, nothing is sent.
const LEAST_ROOM: usize = 64;

#[derive(Default)]
pub(crate) struct Table {
    pub(crate) limits: Limits,
    entries: HashMap<CallId, Entry>,
    /// The finished calls of which something is to be sent, in their order.
    ready: VecDeque<CallId>,
    /// Calls that were not started, and why.
    refusals: VecDeque<(CallId, Status)>,
    signals: BTreeMap<u8, u32>,
    /// What was in the last reply. It may not have arrived.
    sent: Sent,
    /// The calls among the entries that have not ended.
    running: usize,
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

#[derive(Default)]
struct Sent {
    pieces: Vec<Piece>,
    refusals: Vec<(CallId, Status)>,
    signals: BTreeMap<u8, u32>,
}

/// A result, or a piece of one, that was sent.
struct Piece {
    id: CallId,
    offset: usize,
    /// The whole, if this was its last piece: then there is no entry any more.
    ended: Option<Finished>,
}

/// What a call is noted by.
#[derive(Clone, Copy)]
pub(crate) struct Started {
    pub(crate) id: CallId,
    /// No two calls have the same, although their ids may be the same.
    pub(crate) serial: u64,
    pub(crate) argument: usize,
}

/// Calls whose futures are to be dropped while nothing is locked.
#[derive(Default)]
#[must_use]
pub(crate) struct Aborts(Vec<Arc<CallTask>>);

impl Aborts {
    pub(crate) fn abort(self) {
        for task in self.0 {
            task.abort();
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

    /// Whether calls are running.
    pub(crate) fn runs(&self) -> bool {
        self.running > 0
    }

    /// Whether a call runs of which `is_so` holds.
    pub(crate) fn any_running(&self, is_so: impl Fn(&CallTask) -> bool) -> bool {
        let mut entries = self.entries.values();
        entries.any(|entry| matches!(entry, Entry::Running { task, .. } if is_so(task)))
    }

    /// Notes a call, which is to be started with `begin`, unless the limits are reached. A number
    /// that is in use is ignored: the guest is not to be trusted.
    pub(crate) fn start(
        &mut self,
        id: CallId,
        argument: usize,
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
        self.running += 1;
        let entry = Entry::Running {
            task: Arc::clone(&task),
            serial,
            counted,
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
    pub(crate) fn ended(&mut self, started: Started, result: Option<(Status, Vec<u8>)>) {
        self.bytes -= started.argument;
        match self.entries.get(&started.id) {
            Some(Entry::Running { serial, .. }) if *serial == started.serial => {}
            _ => return,
        }
        let (status, bytes) = result.unwrap_or((Status::Lost, Vec::new()));
        let fits = self.bytes.saturating_add(bytes.len()) <= self.limits.bytes
            && u32::try_from(bytes.len()).is_ok();
        if fits {
            self.finish(started.id, status, bytes);
        } else {
            self.finish(started.id, Status::TooLarge, Vec::new());
        }
    }

    /// Notes the end of a call that runs.
    fn finish(&mut self, id: CallId, status: Status, bytes: Vec<u8>) {
        let Some(Entry::Running { counted, .. }) = self.entries.remove(&id) else {
            return;
        };
        self.running -= 1;
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
            Some(Entry::Running { task, .. }) => {
                self.running -= 1;
                aborts.0.push(task);
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
        let piece = self.sent.pieces.iter_mut().find(|piece| piece.id == id);
        if !self.entries.contains_key(&id)
            && let Some(ended) = piece.and_then(|piece| piece.ended.take())
        {
            self.entries.insert(id, Entry::Finished(ended));
        }
    }

    /// The guest has room for what follows the first `offset` bytes of a result.
    pub(crate) fn more(&mut self, id: CallId, offset: u32) {
        if let Some(Entry::Finished(finished)) = self.entries.get_mut(&id) {
            let offset = offset as usize;
            if offset < finished.bytes.len() {
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
    pub(crate) fn lose_all(&mut self, aborts: &mut Aborts) {
        let entries = self.entries.iter();
        let running = entries.filter_map(|(id, entry)| match entry {
            Entry::Running { task, .. } => Some((*id, Arc::clone(task))),
            Entry::Finished(_) => None,
        });
        let running: Vec<_> = running.collect();
        for (id, task) in running {
            self.finish(id, Status::Lost, Vec::new());
            aborts.0.push(task);
        }
    }

    /// Forgets all calls: the guest that made them is not there any more.
    pub(crate) fn clear(&mut self, aborts: &mut Aborts) {
        self.acknowledge();
        for (_, entry) in self.entries.drain() {
            match entry {
                Entry::Running { task, .. } => aborts.0.push(task),
                Entry::Finished(finished) => self.bytes -= finished.bytes.len(),
            }
        }
        self.running = 0;
        self.ready.clear();
        self.refusals.clear();
    }

    /// What was sent has arrived.
    pub(crate) fn acknowledge(&mut self) {
        let sent = mem::take(&mut self.sent);
        for ended in sent.pieces.into_iter().filter_map(|piece| piece.ended) {
            self.bytes -= ended.bytes.len();
        }
    }

    /// What was sent is to be sent again.
    pub(crate) fn send_again(&mut self) {
        let sent = mem::take(&mut self.sent);
        for piece in sent.pieces.into_iter().rev() {
            let Piece { id, offset, ended } = piece;
            if let Some(ended) = ended {
                if self.entries.contains_key(&id) {
                    // A guest that has used the number again, although it was not free.
                    self.bytes -= ended.bytes.len();
                    continue;
                }
                self.entries.insert(id, Entry::Finished(ended));
            }
            if let Some(Entry::Finished(finished)) = self.entries.get_mut(&id) {
                finished.next = offset;
                if !mem::replace(&mut finished.is_ready, true) {
                    self.ready.push_front(id);
                }
            }
        }
        for refusal in sent.refusals.into_iter().rev() {
            self.refusals.push_front(refusal);
        }
        for (event, count) in sent.signals {
            self.signal(event, count);
        }
    }

    /// Whether there is something to send to a guest that has this much room.
    pub(crate) fn has_news(&self, room: usize) -> bool {
        let is_empty = self.ready.is_empty() && self.refusals.is_empty() && self.signals.is_empty();
        !is_empty && room >= LEAST_ROOM
    }

    /// Whether what is to be sent takes this much room.
    pub(crate) fn fills(&self, room: usize) -> bool {
        let mut length = 0;
        self.ready.iter().any(|id| {
            if let Some(Entry::Finished(finished)) = self.entries.get(id) {
                length += RESULT_HEADER + finished.bytes.len() - finished.next;
            }
            length >= room
        })
    }

    /// Writes what there is to send, into `room` bytes at most. It is kept until it is
    /// [acknowledged](Self::acknowledge).
    pub(crate) fn write(&mut self, room: usize, out: &mut Vec<u8>) {
        if room < LEAST_ROOM {
            return;
        }
        let end = out.len() + room;
        let mut records = MAX_RECORDS;
        let mut fits = |out: &Vec<u8>, length: usize| {
            let fits = out.len() + length <= end && records > 0;
            records -= usize::from(fits);
            fits
        };
        while let Some((event, count)) = self.signals.pop_first() {
            if !fits(out, SIGNAL_LEN) {
                self.signals.insert(event, count);
                break;
            }
            out.extend_from_slice(&FromHost::signal(event, count));
            let sent = self.sent.signals.entry(event).or_default();
            *sent = sent.saturating_add(count);
        }
        while let Some(&(id, status)) = self.refusals.front() {
            if !fits(out, RESULT_HEADER) {
                break;
            }
            self.refusals.pop_front();
            let result = ResultHeader {
                id,
                status,
                total: 0,
                offset: 0,
            };
            out.extend_from_slice(&result.to_bytes(0));
            self.sent.refusals.push((id, status));
        }
        while let Some(&id) = self.ready.front() {
            let Some(Entry::Finished(finished)) = self.entries.get_mut(&id) else {
                self.ready.pop_front();
                continue;
            };
            let offset = finished.next;
            let left = finished.bytes.len() - offset;
            // A piece has some bytes, unless the result has none.
            if !fits(out, RESULT_HEADER + left.min(LEAST_ROOM - RESULT_HEADER)) {
                break;
            }
            let length = left.min(end - out.len() - RESULT_HEADER);
            let result = ResultHeader {
                id,
                status: finished.status,
                total: finished.bytes.len() as u32,
                offset: offset as u32,
            };
            out.extend_from_slice(&result.to_bytes(length as u32));
            out.extend_from_slice(&finished.bytes[offset..offset + length]);
            self.ready.pop_front();
            finished.next += length;
            finished.is_ready = false;
            let ended = if length == left {
                match self.entries.remove(&id) {
                    Some(Entry::Finished(finished)) => Some(finished),
                    _ => None,
                }
            } else {
                None
            };
            self.sent.pieces.push(Piece { id, offset, ended });
        }
    }
}
