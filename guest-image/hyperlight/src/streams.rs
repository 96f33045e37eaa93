//! Calls whose input and output are streams.

use core::{cell::RefCell, time::Duration};

use alloc::{format, string::String, vec::Vec};
use critical_section::Mutex;
use dormir::{
    executor::Task,
    hyperlight::{self, CallError, CallInput, CallOutput, StreamingCall},
    time::Timer,
};
use futures_util::{StreamExt, future::join};
use hyperlight_guest::error::HyperlightGuestError;
use hyperlight_guest_bin::guest_function;

/// The length of the runs of equal bytes in every stream. Guests may be slow: so they make and
/// check whole runs.
const RUN: usize = 64;

/// The byte at `at` in every stream.
fn byte(at: usize) -> u8 {
    (at / RUN) as u8
}

/// The bytes of a stream from `begin` to `end`.
fn bytes(begin: usize, end: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(end - begin);
    while begin + bytes.len() < end {
        let at = begin + bytes.len();
        let run_end = ((at / RUN + 1) * RUN).min(end);
        bytes.resize(run_end - begin, byte(at));
    }
    bytes
}

/// Reads an output to its end, with a pause after each piece. Returns its length, if its bytes are
/// right.
async fn read(output: &mut CallOutput, pause: Duration) -> Result<usize, CallError> {
    let mut length = 0;
    while let Some(piece) = output.next().await {
        let piece = piece?;
        let mut rest = piece.as_slice();
        while !rest.is_empty() {
            let (run, behind) = rest.split_at(rest.len().min(RUN - length % RUN));
            assert!(run == &[byte(length); RUN][..run.len()], "at {length}");
            length += run.len();
            rest = behind;
        }
        if !pause.is_zero() {
            Timer::after(pause).await;
        }
    }
    Ok(length)
}

/// Sends an input of `length` bytes, in pieces of many lengths.
async fn send(mut input: CallInput, length: usize) -> Result<(), CallError> {
    let (mut sent, mut piece) = (0, 1);
    while sent < length {
        let next = (sent + piece).min(length);
        input.send(&bytes(sent, next)).await?;
        sent = next;
        piece = piece * 3 % 4001;
    }
    input.finish();
    Ok(())
}

/// Describes how a stream ended, in a few words.
fn describe(result: &Result<usize, CallError>) -> String {
    match result {
        Ok(length) => format!("ok {length}"),
        Err(error) => format!("{error:?}"),
    }
}

fn call(name: &str, length: u64) -> StreamingCall {
    hyperlight::streaming_call(name, &length.to_le_bytes())
}

/// Reads `length` bytes of the function `name`, with a pause of `micros` after each piece. Returns
/// how that ended.
#[guest_function]
fn downloads(name: String, length: u64, micros: u64) -> Result<String, HyperlightGuestError> {
    let pause = Duration::from_micros(micros);
    let result = hyperlight::block_on(async {
        let (_input, mut output) = call(&name, length).split();
        read(&mut output, pause).await
    })?;
    Ok(describe(&result))
}

/// Sends `length` bytes to the function `name`. Returns what it says that it got.
#[guest_function]
fn uploads(name: String, length: u64) -> Result<String, HyperlightGuestError> {
    let result = hyperlight::block_on(async {
        let (input, mut output) = call(&name, length).split();
        send(input, length as usize).await?;
        let mut receipt = Vec::new();
        while let Some(piece) = output.next().await {
            receipt.extend(piece?);
        }
        let receipt: [u8; 8] = receipt.try_into().unwrap_or_default();
        Ok(u64::from_le_bytes(receipt) as usize)
    })?;
    Ok(describe(&result))
}

/// Sends `length` bytes to the function `name`, and reads what it sends back. Returns how that
/// ended.
#[guest_function]
fn streams_both_ways(name: String, length: u64) -> Result<String, HyperlightGuestError> {
    let result = hyperlight::block_on(async {
        let (input, mut output) = call(&name, length).split();
        let reading = read(&mut output, Duration::ZERO);
        let (sent, read) = join(send(input, length as usize), reading).await;
        sent.and(read)
    })?;
    Ok(describe(&result))
}

/// Makes `count` streams of the function `name`, reads a piece of each, and drops it: the whole
/// call or its input alone. Returns how many ended as lost.
#[guest_function]
fn drops_streams(name: String, count: u64) -> Result<u64, HyperlightGuestError> {
    let lost = hyperlight::block_on(async {
        let mut lost = 0;
        for number in 0..count {
            let mut stream = call(&name, 0);
            let first = StreamExt::next(&mut stream).await;
            assert!(matches!(first, Some(Ok(_))));
            stream.send(&[0; 100]).await.expect("it goes on");
            if number % 2 == 0 {
                continue;
            }
            let (input, mut output) = stream.split();
            drop(input);
            while let Some(piece) = output.next().await {
                lost += u64::from(piece == Err(CallError::Lost));
            }
        }
        lost
    })?;
    Ok(lost)
}

/// How the tasks' streams ended, in their order.
static ENDS: Mutex<RefCell<Vec<String>>> = Mutex::new(RefCell::new(Vec::new()));

/// Spawns a task that sends `length` bytes to `name` and reads what it sends, slowly.
#[guest_function]
fn spawn_stream(name: String, length: u64) -> bool {
    let task = Task::boxed(async move {
        let (input, mut output) = call(&name, length).split();
        let reading = read(&mut output, Duration::from_millis(200));
        let (sent, read) = join(send(input, length as usize), reading).await;
        let end = format!("{name} {}", describe(&sent.and(read)));
        critical_section::with(|cs| ENDS.borrow_ref_mut(cs).push(end));
    });
    hyperlight::spawn(task).is_ok()
}

/// Returns how the tasks' streams ended.
#[guest_function]
fn stream_ends_so_far() -> String {
    critical_section::with(|cs| ENDS.borrow_ref(cs).join(", "))
}
