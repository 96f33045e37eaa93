//! The exchange: what happens in the host function `dormir_wait`.

use std::{sync::Arc, time::Duration};

use dormir_hyperlight_protocol::{
    Batch, BatchHeader, CallId, MAX_MESSAGE, ReplyHeader, ReplyStatus, Status, ToHost,
};

use crate::{
    call_streams::StreamsOfCall,
    functions::Called,
    state::{Changing, EndOfCall, HostState},
    table::{Aborts, STREAMS},
    task::CallTask,
    waiting::Waiting,
};

impl HostState {
    /// Takes a batch of the guest, which may be any bytes; starts its calls, waits, and returns the
    /// reply.
    #[cfg(any(test, feature = "hyperlight"))]
    pub(crate) fn exchange(self: &Arc<Self>, bytes: &[u8]) -> Vec<u8> {
        match Batch::parse(bytes) {
            Some(batch) => self.answer(&batch),
            None => self.reply(&mut self.changing(), ReplyStatus::BadBatch, 0, 0),
        }
    }

    /// As [`exchange`](Self::exchange), with a batch that is sound.
    pub(crate) fn answer(self: &Arc<Self>, batch: &Batch<'_>) -> Vec<u8> {
        let header = batch.header;
        let room = (header.room as usize).min(MAX_MESSAGE - ReplyHeader::LEN);
        // Asked while nothing is locked.
        let patience = self.patience();
        let mut changing = self.changing();
        changing.exchanges += 1;
        changing.room = room;
        let was_cancelled = changing.is_cancelled;
        if header.flags.is_first && !changing.is_drive_cancelled() {
            // An earlier cancellation was for the previous call, or it came just now: then the
            // sandbox ends this call when the guest should go on. So nothing may be waited for.
            changing.is_cancelled = false;
        } else if was_cancelled {
            return self.reply(&mut changing, ReplyStatus::Cancelled, header.number, room);
        }
        let mut aborts = Aborts::default();
        let before = changing.generation;
        let tasks = self.take(&mut changing, batch, &mut aborts);
        // What it had in flight is lost, which it is to be told at once.
        let has_lost =
            before != changing.generation && header.generation != 0 && header.flags.expects;
        let wait = allowed(&header, changing.longest_wait);
        drop(changing);
        aborts.abort();
        if header.flags.is_first || !tasks.is_empty() {
            self.note_activity();
        }
        let waiting = match wait {
            None => Err(ReplyStatus::TooLong),
            Some(_) if was_cancelled || has_lost => Err(ReplyStatus::Done),
            Some(wait) => Ok(Waiting::new(wait, room, patience)),
        };
        let status = self.start_and_wait(tasks, waiting);
        self.reply(&mut self.changing(), status, header.number, room)
    }

    /// Takes the records of a batch. Returns the calls that are to be started.
    fn take(
        self: &Arc<Self>,
        changing: &mut Changing,
        batch: &Batch<'_>,
        aborts: &mut Aborts,
    ) -> Vec<Arc<CallTask>> {
        let header = batch.header;
        let is_same = header.generation == changing.generation;
        let is_last = (header.number, header.digest) == (changing.number, changing.digest);
        if is_same && header.flags.is_repeated && is_last {
            // The guest did not get the last reply.
            changing.calls.send_again();
            return Vec::new();
        }
        if is_same && header.number == changing.number.wrapping_add(1) {
            for record in batch.records() {
                if let ToHost::More { id, .. } = record {
                    changing.calls.keep(id);
                }
            }
            changing.calls.acknowledge(!header.flags.is_early);
        } else {
            // Its memory was restored, or is new.
            changing.generation = changing.generation.wrapping_add(1).max(1);
            changing.calls.clear(aborts);
        }
        changing.number = header.number;
        changing.digest = header.digest;
        // First, since it makes room for calls.
        for record in batch.records() {
            if let ToHost::Cancel(id) = record {
                changing.calls.cancel(id, aborts);
            }
        }
        let mut tasks = Vec::new();
        for record in batch.records() {
            match record {
                ToHost::Cancel(_) | ToHost::Void => {}
                ToHost::More { id, offset } => changing.calls.more(id, offset, aborts),
                ToHost::Chunk { id, offset, bytes } => {
                    changing.calls.chunk(id, offset, bytes, aborts);
                }
                ToHost::End(id) => changing.calls.end_input(id, aborts),
                ToHost::Call {
                    id,
                    name,
                    argument,
                    has_streams,
                } => {
                    let called = if has_streams {
                        self.functions.streaming_call(name, argument)
                    } else {
                        self.functions.call(name, argument).map(Called::Plain)
                    };
                    tasks.extend(self.start(changing, id, argument.len(), called));
                }
            }
        }
        tasks
    }

    /// Notes a call, or why there is none.
    fn start(
        self: &Arc<Self>,
        changing: &mut Changing,
        id: CallId,
        argument: usize,
        called: Option<Called>,
    ) -> Option<Arc<CallTask>> {
        let Some(called) = called else {
            changing.calls.refuse(id, Status::Unknown);
            return None;
        };
        let has_streams = called.has_streams();
        let bytes = argument + if has_streams { STREAMS } else { 0 };
        let calls = &mut changing.calls;
        calls.start(id, bytes, has_streams, |started, counted| {
            let streams = StreamsOfCall {
                state: Arc::clone(self),
                started,
            };
            let end = EndOfCall {
                state: Arc::clone(self),
                started,
                result: None,
            };
            let future = called.future(|| Arc::new(streams));
            CallTask::new(future, Box::new(end), counted)
        })
    }

    fn reply(
        &self,
        changing: &mut Changing,
        status: ReplyStatus,
        number: u64,
        room: usize,
    ) -> Vec<u8> {
        let header = ReplyHeader {
            status,
            interrupts: changing.interrupts,
            generation: changing.generation,
            number,
            now: nanos(self.epoch.elapsed()),
            tsc_hz: self.tsc_hz,
            longest_wait: nanos(changing.longest_wait),
        };
        let mut reply = header.to_bytes().to_vec();
        changing.calls.write(room, &mut reply);
        reply
    }
}

/// How long the host waits at most; `None` if that would be too long. A guest that expects
/// something else than the end of its wait waits again.
fn allowed(header: &BatchHeader, longest: Duration) -> Option<Duration> {
    let wait = Duration::from_nanos(header.wait);
    if wait <= longest {
        Some(wait)
    } else {
        header.flags.expects.then_some(longest)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(all(test, feature = "hyperlight"))]
mod driven;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod model;
#[cfg(all(test, feature = "hyperlight", feature = "tokio"))]
mod on_tokio;
#[cfg(test)]
mod tests;
#[cfg(all(test, feature = "hyperlight"))]
mod user_runtime;
