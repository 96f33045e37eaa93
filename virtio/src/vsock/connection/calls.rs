//! What a stream does with its connection. Without a result, its waker is stored, and one that is
//! not needed is left in `waker`.

use core::{
    mem::{swap, take},
    task::{Poll, Waker},
};

use super::{Connection, Ending, Phase, append};
use crate::vsock::{
    deferred::Deferred,
    error::{ConnectError, StreamError},
    packet::shutdown,
};

impl Connection {
    /// Whether it is connected.
    pub(in crate::vsock) fn connected(
        &mut self,
        waker: &mut Option<Waker>,
    ) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(match self.phase {
            Phase::Requested => {
                swap(&mut self.writer, waker);
                return Poll::Pending;
            }
            Phase::Ended(Ending::Refused) => Err(ConnectError::Refused),
            Phase::Ended(Ending::Stopped) => Err(ConnectError::Stopped),
            // The first read tells how it has ended.
            Phase::Open | Phase::Ended(_) => Ok(()),
        })
    }

    /// Takes bytes that came. There is room for one.
    pub(in crate::vsock) fn read(
        &mut self,
        bytes: &mut [u8],
        waker: &mut Option<Waker>,
    ) -> Poll<Result<usize, StreamError>> {
        if self.received.is_empty() {
            if self.peer_shutdown & shutdown::SEND != 0 {
                return Poll::Ready(Ok(0));
            }
            if let Phase::Ended(ending) = self.phase {
                return Poll::Ready(Err(error(ending)));
            }
            swap(&mut self.reader, waker);
            return Poll::Pending;
        }
        let length = bytes.len().min(self.received.len());
        let (first, second) = self.received.as_slices();
        let from_first = first.len().min(length);
        bytes[..from_first].copy_from_slice(&first[..from_first]);
        bytes[from_first..length].copy_from_slice(&second[..length - from_first]);
        self.received.drain(..length);
        self.forward(length);
        Poll::Ready(Ok(length))
    }

    /// Takes bytes that are to be sent.
    pub(in crate::vsock) fn write(
        &mut self,
        bytes: &[u8],
        waker: &mut Option<Waker>,
    ) -> Poll<Result<usize, StreamError>> {
        self.is_flushing = false;
        self.may_write()?;
        let length = bytes.len().min(self.limit - self.outgoing.len());
        if length == 0 {
            swap(&mut self.writer, waker);
            return Poll::Pending;
        }
        append(&mut self.outgoing, &bytes[..length], self.limit);
        Poll::Ready(Ok(length))
    }

    fn may_write(&self) -> Result<(), StreamError> {
        if let Phase::Ended(ending) = self.phase {
            return Err(error(ending));
        }
        let ended = self.wanted_shutdown & shutdown::SEND != 0
            || self.peer_shutdown & shutdown::RECEIVE != 0;
        match ended {
            true => Err(StreamError::Closed),
            false => Ok(()),
        }
    }

    /// Whether the device has sent all.
    pub(in crate::vsock) fn flushed(
        &mut self,
        waker: &mut Option<Waker>,
    ) -> Poll<Result<(), StreamError>> {
        self.is_flushing = false;
        if self.is_flushed() {
            return Poll::Ready(Ok(()));
        }
        match self.phase {
            // The device still has it.
            Phase::Ended(Ending::Closed) if self.outgoing.is_empty() => {}
            Phase::Ended(ending) => return Poll::Ready(Err(error(ending))),
            _ if self.outgoing.is_empty() || self.has_data() => {}
            _ => return Poll::Ready(Err(StreamError::Closed)),
        }
        self.is_flushing = true;
        swap(&mut self.writer, waker);
        Poll::Pending
    }

    /// Sends no more than what was written.
    pub(in crate::vsock) fn shut_down(&mut self) {
        self.wanted_shutdown |= shutdown::SEND;
    }

    /// No stream has it any more. What was written is still sent, unless it was not connected.
    pub(in crate::vsock) fn release(&mut self, deferred: &mut Deferred) {
        self.is_held = false;
        self.is_new = false;
        self.wanted_shutdown = shutdown::BOTH;
        deferred.drop(&mut self.reader);
        deferred.drop(&mut self.writer);
        if self.phase == Phase::Requested {
            self.fail(deferred);
        }
        let unread = take(&mut self.received).len();
        self.forward(unread);
    }
}

fn error(ending: Ending) -> StreamError {
    match ending {
        Ending::Refused | Ending::Reset => StreamError::Reset,
        Ending::Closed => StreamError::Closed,
        Ending::Stopped => StreamError::Stopped,
    }
}
