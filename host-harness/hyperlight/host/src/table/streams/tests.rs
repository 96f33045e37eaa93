use super::*;
use crate::{
    streams::CallEndedError,
    table::Started,
    task::{CallTask, OnEnd},
};
use dormir_hyperlight_protocol::{RESULT_HEADER, Status};
use std::{
    sync::Arc,
    task::{Poll, Wake},
};

impl Table {
    /// How many calls with streams run, and the memory of their streams.
    pub(crate) fn memory_of_streams(&self) -> (usize, usize) {
        let streams = self.entries.values().filter_map(|entry| match entry {
            Entry::Running { streams, .. } => streams.as_ref(),
            Entry::Finished(_) => None,
        });
        streams.fold((0, 0), |(calls, bytes), it| {
            let capacity = it.output.bytes.capacity() + it.input.bytes.capacity();
            (calls + 1, bytes + capacity)
        })
    }
}

struct Nothing;

impl Wake for Nothing {
    fn wake(self: Arc<Self>) {}
}

/// Dropping a waker may run any code, which may use the host.
#[test]
fn no_waker_is_dropped_while_the_table_is_locked() {
    let mut table = Table::default();
    let ended = Started {
        id: CallId::new(0, 1),
        serial: 1,
        argument: 0,
    };
    let mut polled = Vec::new();
    let nothing = Arc::new(Nothing);
    let waker = || Waker::from(Arc::clone(&nothing));
    let sent = table.poll_send(ended, &mut &b"x"[..], waker());
    assert_eq!(sent.poll, Poll::Ready(Err(CallEndedError)));
    polled.extend(sent.unused);
    let flushed = table.poll_flush(ended, false, waker());
    assert_eq!(flushed.poll, Poll::Ready(()));
    polled.extend(flushed.unused);
    let next = table.poll_next(ended, waker());
    assert_eq!(next.poll, Poll::Ready(Some(Err(CallEndedError))));
    polled.extend(next.unused);
    assert_eq!((polled.len(), Arc::strong_count(&nothing)), (3, 4));
}

struct Nowhere;

impl OnEnd for Nowhere {
    fn ended(self: Box<Self>, _: Status, _: Vec<u8>) {}
}

/// Starts a call with streams.
fn start(table: &mut Table, id: CallId) -> Started {
    let mut started = None;
    let begin = |now, counted| {
        started = Some(now);
        CallTask::new(Box::pin(std::future::pending()), Box::new(Nowhere), counted)
    };
    assert!(table.start(id, STREAMS, true, begin).is_some());
    started.expect("it was started")
}

/// A guest cannot take more of an output than it was sent.
#[test]
fn only_what_was_sent_is_taken() {
    let mut table = Table::default();
    let id = CallId::new(0, 1);
    let started = start(&mut table, id);
    let bytes: Vec<u8> = (0..100).collect();
    let sent = table.poll_send(started, &mut &bytes[..], Waker::noop().clone());
    assert!(sent.poll.is_ready() && sent.is_news);
    let room = CHUNK_HEADER + 60;
    let write = |table: &mut Table| {
        let mut out = Vec::new();
        table.write(room, &mut out);
        table.acknowledge(true);
        out.get(CHUNK_HEADER..).map(<[u8]>::to_vec)
    };
    assert_eq!(write(&mut table).as_deref(), Some(&bytes[..60]));
    for wrong in [61, 100, 101, u32::MAX] {
        table.more(id, wrong, &mut Aborts::default());
        assert_eq!(write(&mut table), None);
    }
    table.more(id, 60, &mut Aborts::default());
    assert_eq!(write(&mut table).as_deref(), Some(&bytes[60..]));
}

/// A guest may ask for more of an output when its call has just failed.
#[test]
fn an_error_is_sent_from_its_beginning() {
    let mut table = Table::default();
    let id = CallId::new(0, 1);
    let started = start(&mut table, id);
    let sent = table.poll_send(started, &mut &b"abc"[..], Waker::noop().clone());
    assert!(sent.poll.is_ready());
    table.write(1000, &mut Vec::new());
    let error = Some((Status::Host, b"on purpose".to_vec()));
    table.ended(started, error, &mut Aborts::default());
    table.acknowledge(true);
    table.more(id, 3, &mut Aborts::default());
    let mut out = Vec::new();
    table.write(1000, &mut out);
    let all = RESULT_HEADER + b"on purpose".len();
    assert_eq!((out.len(), out.ends_with(b"on purpose")), (all, true));
}
