//! Many calls that end in every way.

use core::{pin::pin, time::Duration};

use alloc::vec::Vec;
use dormir::{
    executor::Task,
    hyperlight::{self, CallError},
    time::with_timeout,
};
use futures_util::stream::{StreamExt, iter};
use hyperlight_guest::error::HyperlightGuestError;
use hyperlight_guest_bin::guest_function;

/// What the host's function `random` does with a call; the host decides likewise by the number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Result,
    Error,
    Panic,
    Unknown,
    /// The call does not end, and is dropped after a while.
    Dropped,
    /// It is dropped at once.
    DroppedAtOnce,
}

fn kind(number: u64) -> Kind {
    match number % 16 {
        0 => Kind::Error,
        1 => Kind::Panic,
        2 => Kind::Unknown,
        3 => Kind::Dropped,
        4 => Kind::DroppedAtOnce,
        _ => Kind::Result,
    }
}

/// The length of the result: one of many is large, and comes in pieces.
fn length(number: u64) -> usize {
    if number % 61 == 60 {
        50_000
    } else {
        (number % 50) as usize
    }
}

/// Makes one call. Returns whether it ended as its number says.
async fn ends_right(number: u64) -> bool {
    let kind = kind(number);
    let name = if kind == Kind::Unknown {
        "nothing"
    } else {
        "random"
    };
    let call = hyperlight::call(name, &number.to_le_bytes());
    match kind {
        Kind::DroppedAtOnce => {
            drop(call);
            true
        }
        Kind::Dropped => with_timeout(Duration::from_millis(number % 40), call)
            .await
            .is_err(),
        Kind::Error => call.await == Err(CallError::Host("on purpose".into())),
        Kind::Panic => call.await == Err(CallError::Panicked),
        Kind::Unknown => call.await == Err(CallError::Unknown),
        Kind::Result => call.await.is_ok_and(|bytes| {
            bytes.len() == length(number) && bytes.iter().all(|byte| *byte == number as u8)
        }),
    }
}

/// Makes `count` calls from the number `first` on, 100 at a time. Returns how many ended as they
/// should.
#[guest_function]
fn random_calls(first: u64, count: u64) -> Result<u64, HyperlightGuestError> {
    hyperlight::set_result_budget(1 << 20);
    let good = hyperlight::block_on(async {
        let calls = iter(first..first + count).map(ends_right);
        let calls = pin!(calls.buffer_unordered(100));
        calls
            .fold(0, |sum, good| async move { sum + u64::from(good) })
            .await
    })?;
    Ok(good)
}

/// Spawns tasks that call `random`, as a snapshot finds them. Returns how many.
#[guest_function]
fn spawn_random_calls(first: u64, count: u64) -> u64 {
    // None of those that do not end.
    let numbers =
        (0..count).map(|task| first / 16 * 16 + 16 * task + [0, 1, 5, 6, 7][task as usize % 5]);
    let spawned = numbers.map(|number| {
        let call = Task::boxed(async move {
            let result = hyperlight::call("random", &number.to_le_bytes()).await;
            let is_right = match kind(number) {
                Kind::Error => result == Err(CallError::Host("on purpose".into())),
                Kind::Panic => result == Err(CallError::Panicked),
                _ => result
                    .as_ref()
                    .is_ok_and(|bytes| bytes.len() == length(number)),
            };
            let is_lost = result == Err(CallError::Lost);
            assert!(is_right || is_lost, "call {number} ended with {result:?}");
        });
        u64::from(hyperlight::spawn(call).is_ok())
    });
    spawned.collect::<Vec<_>>().iter().sum()
}
