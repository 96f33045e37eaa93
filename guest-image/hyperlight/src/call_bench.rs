//! The guest functions with which `cargo vm bench --hyperlight` measures host calls.
//!
//! The time of each call is read from the processor: dormir's clock would cost an exit.

use core::{cell::RefCell, mem, pin::pin};

use alloc::vec::Vec;
use critical_section::Mutex;
use dormir::{executor::Task, hyperlight};
use futures_util::stream::{StreamExt, iter};
use hyperlight_guest::error::HyperlightGuestError;
use hyperlight_guest_bin::{guest_function, host_comm::call_host};

/// The ticks of the time-stamp counter that calls took.
static TOOK: Mutex<RefCell<Vec<u64>>> = Mutex::new(RefCell::new(Vec::new()));

/// How many of them the host takes at once.
const MOST: usize = 1000;

fn ticks() -> u64 {
    // SAFETY: Reading the counter has no preconditions.
    unsafe { core::arch::x86_64::_rdtsc() }
}

fn note(start: u64) {
    let took = ticks().saturating_sub(start);
    critical_section::with(|cs| TOOK.borrow_ref_mut(cs).push(took));
}

/// Calls the host's async function `slow`, which returns `length` bytes.
async fn timed_call(length: u64) {
    let start = ticks();
    let result = hyperlight::call("slow", &length.to_le_bytes()).await;
    note(start);
    let bytes = result.expect("it returns bytes");
    assert_eq!(bytes.len() as u64, length);
}

/// Makes `count` calls, `in_flight` at a time.
#[guest_function]
fn timed_calls(count: u64, in_flight: u64, length: u64) -> Result<(), HyperlightGuestError> {
    hyperlight::block_on(async {
        let calls = iter(0..count).map(|_| timed_call(length));
        pin!(calls.buffer_unordered(in_flight as usize))
            .for_each(async |()| ())
            .await;
    })?;
    Ok(())
}

/// Spawns `tasks` tasks that make `count` calls each, one after another, when they are polled.
#[guest_function]
fn spawn_timed_calls(tasks: u64, count: u64, length: u64) -> bool {
    let mut spawned = (0..tasks).map(|_| {
        let calls = Task::boxed(async move {
            for _ in 0..count {
                timed_call(length).await;
            }
        });
        hyperlight::spawn(calls).is_ok()
    });
    spawned.all(|spawned| spawned)
}

/// Calls the plain host function `plain_slow` `count` times, which returns `length` bytes.
#[guest_function]
fn timed_plain_calls(count: u64, length: u64) -> Result<(), HyperlightGuestError> {
    for _ in 0..count {
        let start = ticks();
        let bytes = call_host::<Vec<u8>>("plain_slow", (length,))?;
        note(start);
        assert_eq!(bytes.len() as u64, length);
    }
    Ok(())
}

/// Returns how long calls took since the last time, as little-endian words of ticks: all, or as
/// many as the host takes, from beginning to end.
#[guest_function]
fn take_times() -> Vec<u8> {
    let took = critical_section::with(|cs| mem::take(&mut *TOOK.borrow_ref_mut(cs)));
    let step = took.len().div_ceil(MOST).max(1);
    let mut words = Vec::new();
    for ticks in took.iter().step_by(step) {
        words.extend(ticks.to_le_bytes());
    }
    words
}
