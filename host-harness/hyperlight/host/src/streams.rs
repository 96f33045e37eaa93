//! [`Input`] and [`Output`]: the streams of a call, for the function that runs on the host.

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;

use crate::task::{FunctionFuture, FunctionResult};

/// The call has ended, by the guest, by the host, by a restored snapshot, or by an error of its
/// function. So its streams lead nowhere.
///
/// The function itself never sees this, since its future is dropped then. What it has moved to
/// other tasks does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallEndedError;

impl fmt::Display for CallEndedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the guest's call has ended: nothing takes or sends the bytes of its streams")
    }
}

impl Error for CallEndedError {}

/// The streams of a call, where they are kept.
pub(crate) trait CallStreams: Send + Sync {
    /// Takes what there is room for off the beginning of `piece`; ready when it is empty.
    fn poll_send(
        &self,
        piece: &mut &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CallEndedError>>;

    /// Nothing is sent any more.
    fn close_output(&self);

    /// The function has returned. Ready when nothing is sent any more and the guest has taken all
    /// that was, or the call has ended. If the function `has_failed`, nothing is sent any more.
    fn poll_flush(&self, has_failed: bool, cx: &mut Context<'_>) -> Poll<()>;

    /// Takes what the guest has sent; `None` at the input's end.
    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Vec<u8>, CallEndedError>>>;

    /// Drops what the guest has sent and will send.
    fn discard_input(&self);
}

/// The bytes that a guest sends to a function, of
/// [`Host::streaming_function`](crate::Host::streaming_function): a stream of pieces. Their bounds
/// are not those of the pieces that the guest has sent; the bytes and their order are.
///
/// The guest can send 16 KiB that were not taken, and waits then. If this is dropped before its
/// end, what the guest still sends is dropped too.
pub struct Input {
    streams: Arc<dyn CallStreams>,
    is_over: bool,
}

impl Input {
    /// Waits for the next piece, which is not empty. Returns `None` after the last one, when the
    /// guest has ended its input.
    ///
    /// # Errors
    ///
    /// [`CallEndedError`], once. Then the input is not complete.
    pub async fn next(&mut self) -> Option<Result<Vec<u8>, CallEndedError>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Input {
    type Item = Result<Vec<u8>, CallEndedError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let next = self.streams.poll_next(cx);
        self.is_over = matches!(next, Poll::Ready(None | Some(Err(_))));
        next
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.streams.discard_input();
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").finish_non_exhaustive()
    }
}

/// Sends bytes to the guest that has called a function of
/// [`Host::streaming_function`](crate::Host::streaming_function). The output ends when this is
/// dropped, even if the function has moved it to another task: a function that returns without an
/// error ends its call only then, so that the guest never takes a part of an output for all of it.
pub struct Output(Arc<dyn CallStreams>);

impl Output {
    /// Sends `piece` behind what was sent before. Ready when at most 16 KiB wait for the guest, so
    /// a slow reader makes it wait. A part of the piece may have been sent if this is dropped.
    ///
    /// # Errors
    ///
    /// [`CallEndedError`] if there is no reader any more.
    pub async fn send(&mut self, piece: impl AsRef<[u8]>) -> Result<(), CallEndedError> {
        let mut rest = piece.as_ref();
        poll_fn(|cx| self.0.poll_send(&mut rest, cx)).await
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.0.close_output();
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}

/// A function of a call with streams.
pub(crate) type StreamingFunction = dyn Fn(Vec<u8>, Input, Output) -> FunctionFuture + Send + Sync;

/// A future that calls `function` in its first poll. It ends when the guest has taken the output.
pub(crate) fn call(
    function: Arc<StreamingFunction>,
    argument: Vec<u8>,
    streams: Arc<dyn CallStreams>,
) -> FunctionFuture {
    Box::pin(async move {
        let input = Input {
            streams: Arc::clone(&streams),
            is_over: false,
        };
        let result = function(argument, input, Output(Arc::clone(&streams))).await;
        let has_failed = result.is_err();
        poll_fn(|cx| streams.poll_flush(has_failed, cx)).await;
        result
    })
}

/// `function`, with errors as text.
pub(crate) fn erased<F, R, E>(function: F) -> Arc<StreamingFunction>
where
    F: Fn(Vec<u8>, Input, Output) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), E>> + Send + 'static,
    E: fmt::Display,
{
    Arc::new(move |argument, input, output| {
        let future = function(argument, input, output);
        Box::pin(async move {
            let result = future.await.map_err(|error| error.to_string());
            result.map(|()| Vec::new())
        })
    })
}

/// The function whose output is the stream that `function` returns.
pub(crate) fn of_stream<F, S, P, E>(function: F) -> Arc<StreamingFunction>
where
    F: Fn(Vec<u8>) -> S + Send + Sync + 'static,
    S: Stream<Item = Result<P, E>> + Send + 'static,
    P: AsRef<[u8]> + Send,
    E: fmt::Display + Send,
{
    Arc::new(move |argument, input, mut output| {
        drop(input);
        let stream = function(argument);
        let sent = async move {
            let mut stream = pin!(stream);
            while let Some(piece) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
                let piece = piece.map_err(|error| error.to_string())?;
                output
                    .send(piece)
                    .await
                    .map_err(|error| error.to_string())?;
            }
            let result: FunctionResult = Ok(Vec::new());
            result
        };
        Box::pin(sent)
    })
}
