//! The streams of a call, as its function polls them.

use std::{
    mem,
    task::{Poll, Waker},
};

use dormir_hyperlight_protocol::STREAM_WINDOW;

use super::{Entry, Streams, Table, append};
use crate::{streams::CallEndedError, table::Started};

/// What a poll of a stream has done. Its wakers are foreign code: they are woken and dropped when
/// nothing is locked.
pub(crate) struct Polled<T> {
    pub(crate) poll: Poll<T>,
    /// Whether there is something for the guest, which may wait for it.
    pub(crate) is_news: bool,
    /// A waker to be dropped.
    pub(crate) unused: Option<Waker>,
    /// A waker to be woken.
    pub(crate) woken: Option<Waker>,
}

/// What a poll returns, the waker that it does not keep, and one to be woken.
type Outcome<T> = (Poll<T>, Option<Waker>, Option<Waker>);

impl Table {
    /// Polls the streams of the call `started`, for a task with this waker. `ended` is the result
    /// if the call has ended.
    fn poll_streams<T>(
        &mut self,
        started: Started,
        waker: Option<Waker>,
        ended: T,
        poll: impl FnOnce(&mut Streams, Option<Waker>) -> Outcome<T>,
    ) -> Polled<T> {
        let streams = match self.entries.get_mut(&started.id) {
            Some(Entry::Running {
                serial, streams, ..
            }) if *serial == started.serial => streams.as_deref_mut(),
            _ => None,
        };
        let Some(streams) = streams else {
            return Polled {
                poll: Poll::Ready(ended),
                is_news: false,
                unused: waker,
                woken: None,
            };
        };
        let (poll, unused, woken) = poll(streams, waker);
        let mut is_news = streams.becomes_ready();
        if is_news {
            self.ready.push_back(started.id);
        }
        // If it was the last one that could go on, what is ready lingers no more.
        is_news |= poll.is_pending() && !self.ready.is_empty();
        Polled {
            poll,
            is_news,
            unused,
            woken,
        }
    }

    /// The function sends `piece`, of which this takes what there is room for.
    pub(crate) fn poll_send(
        &mut self,
        started: Started,
        piece: &mut &[u8],
        waker: Waker,
    ) -> Polled<Result<(), CallEndedError>> {
        let ended = Err(CallEndedError);
        self.poll_streams(started, Some(waker), ended, |streams, waker| {
            let output = &mut streams.output;
            if output.is_closed {
                return (Poll::Ready(Err(CallEndedError)), waker, None);
            }
            let room = STREAM_WINDOW.saturating_sub(output.bytes.len());
            let (now, later) = piece.split_at(piece.len().min(room));
            append(&mut output.bytes, now);
            *piece = later;
            if later.is_empty() {
                (Poll::Ready(Ok(())), waker, None)
            } else {
                (Poll::Pending, mem::replace(&mut output.sender, waker), None)
            }
        })
    }

    /// Nothing sends any more.
    pub(crate) fn close_output(&mut self, started: Started) -> Polled<()> {
        self.poll_streams(started, None, (), |streams, _| {
            let output = &mut streams.output;
            output.is_closed = true;
            (Poll::Ready(()), output.sender.take(), output.flusher.take())
        })
    }

    /// The function has returned. Ready when nothing sends any more, and the guest has taken what
    /// was sent. A function that `has_failed` ends its output, and a guest that still sends input
    /// is told so at once: it may not read before.
    pub(crate) fn poll_flush(
        &mut self,
        started: Started,
        has_failed: bool,
        waker: Waker,
    ) -> Polled<()> {
        self.poll_streams(started, Some(waker), (), |streams, waker| {
            let Streams { output, input, .. } = streams;
            let mut woken = None;
            if has_failed {
                input.discard();
                output.is_closed = true;
                woken = output.sender.take();
            }
            let is_due = has_failed && input.is_sent_in_vain();
            if is_due || output.is_closed && output.bytes.is_empty() {
                (Poll::Ready(()), waker, woken)
            } else {
                let before = mem::replace(&mut output.flusher, waker);
                (Poll::Pending, before, woken)
            }
        })
    }

    /// The function takes what the guest has sent.
    pub(crate) fn poll_next(
        &mut self,
        started: Started,
        waker: Waker,
    ) -> Polled<Option<Result<Vec<u8>, CallEndedError>>> {
        let ended = Some(Err(CallEndedError));
        self.poll_streams(started, Some(waker), ended, |streams, waker| {
            let input = &mut streams.input;
            if !input.bytes.is_empty() {
                let bytes = mem::take(&mut input.bytes);
                (Poll::Ready(Some(Ok(bytes))), waker, None)
            } else if input.is_over {
                (Poll::Ready(None), waker, None)
            } else {
                (Poll::Pending, mem::replace(&mut input.reader, waker), None)
            }
        })
    }

    /// No function takes the input.
    pub(crate) fn discard_input(&mut self, started: Started) -> Polled<()> {
        self.poll_streams(started, None, (), |streams, _| {
            streams.input.discard();
            (Poll::Ready(()), streams.input.reader.take(), None)
        })
    }
}
