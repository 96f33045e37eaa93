//! The host's functions for what `guest-image/host-calls/src/work.rs` does. They are written once:
//! this file is also a part of `host-harness/hyperlight/runner`.

use std::{
    convert::Infallible,
    future,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use dormir_hyperlight_host::{CallEndedError, Host, Input, Output};
use postcard_schema::Schema;
use serde::Serialize;

/// What the guest says at the end.
pub(crate) const EXPECTED: &str = "35000 bytes, 100 echoes, 20000 up, 20000 down, 20000 both ways, \
                                   Ok(\"a b a b\"), Err(None), 1 signal, 1 dropped, \
                                   Err(Panicked), Err(Unknown), Err(Host(\"on purpose\"))";

/// The event that is signalled.
const SIGNALLED: u8 = 3;

#[derive(Serialize, Schema)]
enum WordsError {
    None,
    #[expect(dead_code, reason = "only the guest makes it")]
    NotCalled(String),
}

/// How many futures were dropped.
type Dropped = Arc<(Mutex<u8>, Condvar)>;

/// Counts its drop.
struct Counts(Dropped);

impl Drop for Counts {
    fn drop(&mut self) {
        let (count, changed) = &*self.0;
        *count.lock().expect("no panic") += 1;
        changed.notify_all();
    }
}

/// Adds the functions.
pub(crate) fn add(host: Host) -> Host {
    let signaller = host.signaller();
    let dropped = Dropped::default();
    let of_forever = Arc::clone(&dropped);
    host.async_function("echo", |bytes| async { Ok::<_, Infallible>(bytes) })
        .async_function("panics", |_| async { resume() })
        .async_function("fails", |_| async { Err::<Vec<u8>, _>("on purpose") })
        .async_function("signal", move |_| {
            signaller.signal(SIGNALLED);
            async { Ok::<_, Infallible>(Vec::new()) }
        })
        .async_function("forever", move |_| {
            let counts = Counts(Arc::clone(&of_forever));
            async move {
                let _counts = counts;
                future::pending::<Result<_, Infallible>>().await
            }
        })
        .async_function("dropped", move |_| {
            let dropped = Arc::clone(&dropped);
            async move { Ok::<_, Infallible>(vec![wait_for_one(&dropped)]) }
        })
        .typed_function("joined", joined)
        .streaming_function("upload", upload)
        .streaming_function("download", download)
        .streaming_function("copy", copy)
}

/// Panics without a message on standard error.
fn resume() -> Result<Vec<u8>, Infallible> {
    std::panic::resume_unwind(Box::new("on purpose"))
}

/// Waits until a future was dropped. Returns how many were.
fn wait_for_one((count, changed): &(Mutex<u8>, Condvar)) -> u8 {
    let count = count.lock().expect("no panic");
    let waited = changed.wait_timeout_while(count, Duration::from_secs(30), |count| *count == 0);
    *waited.expect("no panic").0
}

async fn joined(words: Vec<String>, times: u32) -> Result<String, WordsError> {
    match words.is_empty() {
        true => Err(WordsError::None),
        false => Ok(vec![words.join(" "); times as usize].join(" ")),
    }
}

async fn upload(_: Vec<u8>, mut input: Input, mut output: Output) -> Result<(), CallEndedError> {
    let mut length = 0;
    while let Some(piece) = input.next().await {
        let piece = piece?;
        let is_right = |(at, got): (usize, &u8)| *got == ((length + at) / 64) as u8;
        if !piece.iter().enumerate().all(is_right) {
            break;
        }
        length += piece.len();
    }
    output.send((length as u64).to_le_bytes()).await
}

async fn download(length: Vec<u8>, _: Input, mut output: Output) -> Result<(), CallEndedError> {
    let length = u64::from_le_bytes(length.try_into().unwrap_or_default());
    let bytes: Vec<u8> = (0..length).map(|at| (at / 64) as u8).collect();
    output.send(bytes).await
}

async fn copy(_: Vec<u8>, mut input: Input, mut output: Output) -> Result<(), CallEndedError> {
    while let Some(piece) = input.next().await {
        output.send(piece?).await?;
    }
    Ok(())
}
