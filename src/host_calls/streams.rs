//! Calls of the host's async functions whose input and output are streams.

use core::{
    fmt,
    future::poll_fn,
    marker::PhantomData,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use dormir_hyperlight_protocol::{
    CallId,
    guest::{InputProgress, OutputProgress},
};
use futures_core::Stream;
use std_alloc::vec::Vec;

use super::{
    CallError,
    table::{keep_waker, send_if_full, wake, with_calls},
};

/// Calls the host's async function `name`, which has an input and an output besides its argument:
/// streams of bytes, in which the faster side waits for the slower one. So neither needs to fit
/// into memory as a whole.
///
/// The call is queued, sent and limited as one by [`call`](super::call). The host registers the
/// function by `Host::streaming_function` or `Host::stream_function`.
///
/// # Errors
///
/// Those of what is returned: see [`CallError`].
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// use dormir::hyperlight::{self, CallError};
/// use hyperlight_guest::error::HyperlightGuestError;
///
/// // The output comes in pieces.
/// async fn length_of_download(url: &str) -> Result<usize, CallError> {
///     let mut download = hyperlight::streaming_call("download", url.as_bytes());
///     let mut length = 0;
///     while let Some(piece) = download.next().await {
///         length += piece?.len();
///     }
///     Ok(length)
/// }
///
/// // The input goes in pieces.
/// async fn upload(name: &str, pieces: &[&[u8]]) -> Result<(), CallError> {
///     let mut upload = hyperlight::streaming_call("upload", name.as_bytes());
///     for piece in pieces {
///         upload.send(piece).await?;
///     }
///     upload.finish().await?;
///     Ok(())
/// }
///
/// // With `#[guest_function]`.
/// fn copy() -> Result<u64, HyperlightGuestError> {
///     let length = hyperlight::block_on(async {
///         upload("hello", &[b"hel", b"lo"]).await?;
///         length_of_download("hello").await
///     })?;
///     Ok(length.map_or(0, |length| length as u64))
/// }
/// ```
pub fn streaming_call(name: &str, argument: &[u8]) -> StreamingCall {
    let call = with_calls(|calls| calls.streaming_call(name, argument));
    let (output, input) = match call {
        Ok(id) => (Stage::InFlight(id), Some(id)),
        Err(error) => (Stage::Refused(error), None),
    };
    StreamingCall {
        output: CallOutput {
            stage: output,
            main_line: PhantomData,
        },
        input: CallInput {
            id: input,
            main_line: PhantomData,
        },
    }
}

/// A call in flight, as returned by [`streaming_call`]: a stream of the pieces of its output. Their
/// bounds are not those of the pieces that the function has sent; the bytes and their order are.
///
/// At most one piece is in the guest's memory, within the [budget](super::set_result_budget) for
/// results. The host gets the next one only when this is polled and has none, and its function
/// waits then.
///
/// # Cancel safety
///
/// Dropping it ends the call, as for [`HostCall`](super::HostCall).
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// use dormir::{executor::Task, hyperlight::{self, CallError}};
///
/// // Sends and reads at once: the function sends back what it is sent.
/// async fn echo(text: &'static [u8]) -> Result<usize, CallError> {
///     let (mut input, mut output) = hyperlight::streaming_call("echo", b"").split();
///     let sending = hyperlight::spawn(Task::boxed(async move {
///         input.send(text).await?;
///         input.finish();
///         Ok(())
///     }));
///     let mut length = 0;
///     while let Some(piece) = output.next().await {
///         length += piece?.len();
///     }
///     sending.expect("there is room").await.expect("it is not aborted")?;
///     Ok(length)
/// }
/// # let _ = echo;
/// ```
#[must_use = "dropping it ends the call"]
#[derive(Debug)]
pub struct StreamingCall {
    // It is dropped first, and ends the call whatever became of the input.
    output: CallOutput,
    input: CallInput,
}

impl StreamingCall {
    /// Waits for the next piece of the output: see [`CallOutput::next`].
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn next(&mut self) -> Option<Result<Vec<u8>, CallError>> {
        self.output.next().await
    }

    /// Sends a piece of the input: see [`CallInput::send`].
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn send(&mut self, piece: &[u8]) -> Result<(), CallError> {
        self.input.send(piece).await
    }

    /// Ends the input, and waits for the end of the call. Returns what is left of the output.
    ///
    /// # Errors
    ///
    /// See [`CallError`]. `TooLarge` if there is not enough memory.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the call, and what it has read is lost. To wait with interruptions,
    /// [`split`](Self::split) it, finish the input, and read the output.
    pub async fn finish(self) -> Result<Vec<u8>, CallError> {
        let (input, mut output) = self.split();
        input.finish();
        let mut all = Vec::new();
        while let Some(piece) = output.next().await {
            let piece = piece?;
            let has_memory = all.try_reserve(piece.len());
            has_memory.map_err(|_| CallError::TooLarge)?;
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// Splits it into its input and its output, for tasks that send and read at once.
    ///
    /// Keep the input until it is [finished](CallInput::finish): dropping it before, as `let (_,
    /// output) = call.split()` does, ends the call with [`CallError::Lost`].
    pub fn split(self) -> (CallInput, CallOutput) {
        (self.input, self.output)
    }
}

impl Stream for StreamingCall {
    type Item = Result<Vec<u8>, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.output).poll_next(cx)
    }
}

/// The output of a [`StreamingCall`]: a stream of its pieces.
///
/// # Cancel safety
///
/// Dropping it ends the call.
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// use dormir::hyperlight::{CallError, CallOutput};
///
/// async fn length(mut output: CallOutput) -> Result<usize, CallError> {
///     let mut length = 0;
///     while let Some(piece) = output.next().await {
///         length += piece?.len();
///     }
///     Ok(length)
/// }
/// # let _ = length;
/// ```
#[must_use = "dropping it ends the call"]
pub struct CallOutput {
    stage: Stage,
    /// It belongs to the guest's main line.
    main_line: PhantomData<*const ()>,
}

enum Stage {
    InFlight(CallId),
    Refused(CallError),
    Ended,
}

impl CallOutput {
    /// Waits for the next piece, which is not empty. Returns `None` when the call has ended without
    /// an error, and after an error.
    ///
    /// # Errors
    ///
    /// See [`CallError`]. Then the output is not complete.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Vec<u8>, CallError>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for CallOutput {
    type Item = Result<Vec<u8>, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let id = match mem::replace(&mut self.stage, Stage::Ended) {
            Stage::InFlight(id) => id,
            Stage::Refused(error) => return Poll::Ready(Some(Err(error))),
            Stage::Ended => return Poll::Ready(None),
        };
        send_if_full();
        match with_calls(|calls| calls.poll_output(id, cx.waker())) {
            OutputProgress::Ended(end) => return Poll::Ready(end.err().map(Err)),
            OutputProgress::Piece(piece) => {
                self.stage = Stage::InFlight(id);
                return Poll::Ready(Some(Ok(piece)));
            }
            OutputProgress::Waits(true) => {}
            OutputProgress::Waits(false) => keep_waker(id, cx.waker()),
        }
        self.stage = Stage::InFlight(id);
        Poll::Pending
    }
}

impl Drop for CallOutput {
    fn drop(&mut self) {
        if let Stage::InFlight(id) = self.stage {
            let unused = with_calls(|calls| calls.cancel(id));
            drop(unused);
            wake();
        }
    }
}

impl fmt::Debug for CallOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_in_flight = matches!(self.stage, Stage::InFlight(_));
        f.debug_struct("CallOutput")
            .field("is_in_flight", &is_in_flight)
            .finish()
    }
}

/// The input of a [`StreamingCall`].
///
/// # Cancel safety
///
/// If it is dropped before [`finish`](Self::finish), the call ends with [`CallError::Lost`], so
/// that the function does not take the input for complete. Until then the call counts as one in
/// flight, even if its output was read to its end.
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// use dormir::hyperlight::{CallError, CallInput};
///
/// async fn send_all(mut input: CallInput, pieces: &[&[u8]]) -> Result<(), CallError> {
///     for piece in pieces {
///         input.send(piece).await?;
///     }
///     input.finish();
///     Ok(())
/// }
/// # let _ = send_all;
/// ```
#[must_use = "dropping it ends the call, unless it is finished"]
pub struct CallInput {
    /// `None` if the call was refused, or the input is finished.
    id: Option<CallId>,
    /// It belongs to the guest's main line.
    main_line: PhantomData<*const ()>,
}

impl CallInput {
    /// Sends `piece` behind what was sent before. Ready when all of it is queued for the host, of
    /// whose function at most 16 KiB wait to be taken: so a slow function makes it wait. What a
    /// function does not take before its end is dropped.
    ///
    /// # Errors
    ///
    /// The call's, if it has ended with one; the output has it too, whether that is read before or
    /// after. `Lost` if the output was dropped. `TooLarge` if there is not enough memory in the
    /// guest: then a part of the piece may have been sent, and the call goes on.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, a part of the piece may have been sent.
    pub async fn send(&mut self, piece: &[u8]) -> Result<(), CallError> {
        let mut rest = piece;
        poll_fn(|cx| self.poll_send(&mut rest, cx)).await
    }

    /// Ends the input, behind what was sent.
    pub fn finish(mut self) {
        if let Some(id) = self.id.take() {
            with_calls(|calls| calls.end_input(id));
        }
    }

    fn poll_send(&self, rest: &mut &[u8], cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        let Some(id) = self.id else {
            return Poll::Ready(Err(CallError::Lost));
        };
        send_if_full();
        match with_calls(|calls| calls.poll_input(id, rest, cx.waker())) {
            InputProgress::Queued => return Poll::Ready(Ok(())),
            InputProgress::Ended(error) => return Poll::Ready(Err(error)),
            InputProgress::Waits(true) => {}
            InputProgress::Waits(false) => {
                let waker = cx.waker().clone();
                let unused = with_calls(|calls| calls.set_writer(id, waker));
                drop(unused);
            }
        }
        Poll::Pending
    }
}

impl Drop for CallInput {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            with_calls(|calls| calls.abandon_input(id));
            wake();
        }
    }
}

impl fmt::Debug for CallInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallInput").finish_non_exhaustive()
    }
}
