//! Many calls that end in every way.

use core::{
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

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

/// Returns the random number of the call `index` (the step and the mixing of SplitMix64).
fn random(seed: u64, index: u64) -> u64 {
    let mut number = (seed << 32 | index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// Whether a call ended as its number says.
fn is_right(number: u64, result: &Result<Vec<u8>, CallError>) -> bool {
    match kind(number) {
        Kind::Error => *result == Err(CallError::Host("on purpose".into())),
        Kind::Panic => *result == Err(CallError::Panicked),
        Kind::Unknown => *result == Err(CallError::Unknown),
        // It does not end.
        Kind::Dropped | Kind::DroppedAtOnce => false,
        Kind::Result => result.as_ref().is_ok_and(|bytes| {
            bytes.len() == length(number) && bytes.iter().all(|byte| *byte == number as u8)
        }),
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
        _ => is_right(number, &call.await),
    }
}

/// Makes `count` calls from the one of index `first` on, 100 at a time. Returns how many ended as
/// they should.
#[guest_function]
fn random_calls(seed: u64, first: u64, count: u64) -> Result<u64, HyperlightGuestError> {
    hyperlight::set_result_budget(1 << 20);
    let good = hyperlight::block_on(async {
        let calls = iter(first..first + count).map(|index| ends_right(random(seed, index)));
        let calls = pin!(calls.buffer_unordered(100));
        calls
            .fold(0, |sum, good| async move { sum + u64::from(good) })
            .await
    })?;
    Ok(good)
}

/// How many calls of tasks ended with their own result, and how many were lost, in the upper half.
static ENDS: AtomicU64 = AtomicU64::new(0);

const LOST: u64 = 1 << 32;

/// Notes how a task's call ended.
fn ended(is_right: bool, result: Result<Vec<u8>, CallError>) {
    let is_lost = result == Err(CallError::Lost);
    assert!(is_right || is_lost, "a call ended with {result:?}");
    ENDS.fetch_add(if is_lost { LOST } else { 1 }, Ordering::Relaxed);
}

/// Spawns tasks that call, as a snapshot finds them: `count` call `random`, and `held` the function
/// of this name. Returns how many.
#[guest_function]
fn spawn_random_calls(seed: u64, first: u64, count: u64, held: u64) -> u64 {
    let is_to_end = |number: &u64| !matches!(kind(*number), Kind::Dropped | Kind::DroppedAtOnce);
    let numbers = (first..).map(|index| random(seed, index)).filter(is_to_end);
    let mut spawned = 0;
    for number in numbers.take(count as usize) {
        let call = Task::boxed(async move {
            let name = if kind(number) == Kind::Unknown {
                "nothing"
            } else {
                "random"
            };
            let result = hyperlight::call(name, &number.to_le_bytes()).await;
            ended(is_right(number, &result), result);
        });
        spawned += u64::from(hyperlight::spawn(call).is_ok());
    }
    for number in 0..held {
        let call = Task::boxed(async move {
            let argument = number.to_le_bytes();
            let result = hyperlight::call("held", &argument).await;
            ended(result.as_deref() == Ok(&argument), result);
        });
        spawned += u64::from(hyperlight::spawn(call).is_ok());
    }
    spawned
}

/// Returns how the tasks' calls have ended since the last time: with their own results in the lower
/// half, lost in the upper.
#[guest_function]
fn random_ends() -> u64 {
    ENDS.swap(0, Ordering::Relaxed)
}
