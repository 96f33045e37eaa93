//! Functions of calls with streams.

use std::{fmt::Display, future::Future};

use futures_core::Stream;

use crate::{
    Host,
    streams::{self, Input, Output},
};

impl Host {
    /// Adds a function that the guest calls by `dormir::host_calls::streaming_call`, in place of an
    /// earlier one of this name. Its input and its output are streams of bytes, in which the faster
    /// side waits for the slower one. As for [`async_function`](Self::async_function), the future
    /// is dropped when the guest does not want the output any more.
    ///
    /// The guest's call ends when the function has returned, its [`Output`] is dropped, and the
    /// guest has taken the output; or at once if the function panics, or if it fails while the
    /// guest sends input. After an error, an `Output` that the function has moved to another task
    /// sends nothing more. The call's streams count for 32 KiB of
    /// [`Limits::bytes`](crate::Limits::bytes) while it lasts.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir_hyperlight_host::{CallEndedError, Host};
    ///
    /// let host = Host::new().streaming_function("double", |_, mut input, mut output| async move {
    ///     while let Some(piece) = input.next().await {
    ///         let doubled: Vec<u8> = piece?.iter().map(|byte| byte.wrapping_mul(2)).collect();
    ///         output.send(doubled).await?;
    ///     }
    ///     Ok::<_, CallEndedError>(())
    /// });
    /// ```
    #[must_use]
    pub fn streaming_function<F, R, E>(self, name: impl Into<String>, function: F) -> Self
    where
        F: Fn(Vec<u8>, Input, Output) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        let functions = &self.state().functions;
        functions.add_streaming(name.into(), streams::erased(function));
        self
    }

    /// Adds a function that returns a stream, which the guest reads by
    /// `dormir::host_calls::streaming_call`. An error in the stream ends it. As
    /// [`streaming_function`](Self::streaming_function) otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::convert::Infallible;
    ///
    /// use dormir_hyperlight_host::Host;
    /// use futures_util::stream;
    ///
    /// let host = Host::new().stream_function("count", |_argument| {
    ///     let numbers = (0_u32..1000).map(|number| Ok::<_, Infallible>(number.to_le_bytes()));
    ///     stream::iter(numbers)
    /// });
    /// ```
    #[must_use]
    pub fn stream_function<F, S, P, E>(self, name: impl Into<String>, function: F) -> Self
    where
        F: Fn(Vec<u8>) -> S + Send + Sync + 'static,
        S: Stream<Item = Result<P, E>> + Send + 'static,
        P: AsRef<[u8]> + Send,
        E: Display + Send,
    {
        let functions = &self.state().functions;
        functions.add_streaming(name.into(), streams::of_stream(function));
        self
    }
}
