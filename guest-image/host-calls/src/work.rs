//! What a guest does with its host's functions. It is written once: this file is also a part of the
//! Hyperlight guest. The host's side is in `tests/vm/host_calls/functions.rs`.

use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::time::Duration;

use dormir::{
    host_calls::{self, CallError},
    time::with_timeout,
};
use futures_util::future::{join, join_all};
use postcard_schema::Schema;
use serde::Deserialize;

/// How much goes through a stream.
const LENGTH: usize = 20_000;

/// The event that the host signals.
const SIGNALLED: u8 = 3;

/// Why there are no words. The host has the same type.
#[derive(Debug, Deserialize, Schema)]
enum WordsError {
    None,
    NotCalled(#[expect(dead_code, reason = "only printed")] String),
}

impl From<CallError> for WordsError {
    fn from(error: CallError) -> Self {
        Self::NotCalled(error.to_string())
    }
}

dormir::host_functions! {
    /// Joins words, so often.
    async fn joined(words: &[&str], times: u32) -> Result<String, WordsError>;
}

/// Calls each of the host's functions. Returns what came of it, or what went wrong.
pub(crate) async fn work() -> Result<String, String> {
    let large = large().await?;
    let echoes = echoes(100).await?;
    let up = upload().await.map_err(|error| error.to_string())?;
    let down = download().await.map_err(|error| error.to_string())?;
    let both = copy().await.map_err(|error| error.to_string())?;
    let words = joined(&["a", "b"], 2).await;
    let none = joined(&[], 1).await;
    let signals = signal().await?;
    let dropped = drop_one().await?;
    let panicked = host_calls::call("panics", &[]).await;
    let unknown = host_calls::call("absent", &[]).await;
    let failed = host_calls::call("fails", &[]).await;
    Ok(format!(
        "{large} bytes, {echoes} echoes, {up} up, {down} down, {both} both ways, {words:?}, \
         {none:?}, {signals} signal, {dropped} dropped, {panicked:?}, {unknown:?}, {failed:?}"
    ))
}

/// Makes a call that fills a batch. Returns how long its result is, if that is right.
async fn large() -> Result<usize, String> {
    let bytes = vec![7; 35_000];
    let result = host_calls::call("echo", &bytes).await;
    let result = result.map_err(|error| error.to_string())?;
    Ok(if result == bytes { result.len() } else { 0 })
}

/// Makes so many calls at once. Returns how many brought their own bytes back.
pub(crate) async fn echoes(count: u32) -> Result<usize, String> {
    let calls = (0..count).map(|number| async move {
        let bytes = vec![number as u8; 20];
        (host_calls::call("echo", &bytes).await, bytes)
    });
    let mut good = 0;
    for (result, bytes) in join_all(calls).await {
        let result = result.map_err(|error| error.to_string())?;
        good += usize::from(result == bytes);
    }
    Ok(good)
}

/// The byte at `at` in every stream.
fn byte(at: usize) -> u8 {
    (at / 64) as u8
}

/// The bytes of a stream.
fn bytes() -> Vec<u8> {
    (0..LENGTH).map(byte).collect()
}

/// Sends a stream. Returns how much the host says that it got.
async fn upload() -> Result<usize, CallError> {
    let mut upload = host_calls::streaming_call("upload", b"");
    for piece in bytes().chunks(999) {
        upload.send(piece).await?;
    }
    let length = upload.finish().await?.try_into().unwrap_or_default();
    Ok(u64::from_le_bytes(length) as usize)
}

/// Reads a stream. Returns how much of it came, up to the first wrong byte.
async fn download() -> Result<usize, CallError> {
    let length = (LENGTH as u64).to_le_bytes();
    let download = host_calls::streaming_call("download", &length);
    let got = download.finish().await?;
    Ok(right(&got))
}

/// Sends a stream, and reads it at once. Returns how much of it came back.
async fn copy() -> Result<usize, CallError> {
    let (mut input, mut output) = host_calls::streaming_call("copy", b"").split();
    let sending = async {
        input.send(&bytes()).await?;
        input.finish();
        Ok(())
    };
    let reading = async {
        let mut got = Vec::new();
        while let Some(piece) = output.next().await {
            got.extend(piece?);
        }
        Ok(right(&got))
    };
    let (sent, got) = join(sending, reading).await;
    sent.and(got)
}

fn right(got: &[u8]) -> usize {
    let is_right = |(at, got): &(usize, &u8)| **got == byte(*at);
    got.iter().enumerate().take_while(is_right).count()
}

/// Waits for a signal, which the host sends when it is called. Returns how many came.
async fn signal() -> Result<u32, String> {
    let event = host_calls::event(SIGNALLED).map_err(|_| "another task waits")?;
    let (called, signals) = join(host_calls::call("signal", &[]), event).await;
    called.map_err(|error| error.to_string())?;
    Ok(signals)
}

/// Drops a call that does not end. Returns how many of its futures the host has dropped since.
async fn drop_one() -> Result<u8, String> {
    let call = host_calls::call("forever", &[]);
    if with_timeout(Duration::from_millis(50), call).await.is_ok() {
        return Err("a call ended that was not to".into());
    }
    let dropped = host_calls::call("dropped", &[]).await;
    let dropped = dropped.map_err(|error| error.to_string())?;
    Ok(dropped.first().copied().unwrap_or_default())
}
