//! A stream as an iterator.

use crate::block_on;
use futures_core::Stream;
use std::{
    future::poll_fn,
    ops::{Deref, DerefMut},
    pin::Pin,
};

/// An iterator that waits for each item of a stream.
#[derive(Debug)]
pub struct BlockingStream<S: Stream + Unpin>(S);

/// Makes an iterator of a stream.
pub fn block_on_stream<S: Stream + Unpin>(stream: S) -> BlockingStream<S> {
    BlockingStream(stream)
}

impl<S: Stream + Unpin> BlockingStream<S> {
    /// Returns the stream.
    pub fn into_inner(self) -> S {
        self.0
    }
}

impl<S: Stream + Unpin> Iterator for BlockingStream<S> {
    type Item = S::Item;

    fn next(&mut self) -> Option<S::Item> {
        block_on(poll_fn(|cx| Pin::new(&mut self.0).poll_next(cx)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<S: Stream + Unpin> Deref for BlockingStream<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.0
    }
}

impl<S: Stream + Unpin> DerefMut for BlockingStream<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.0
    }
}
