//! Calls of the host's async functions.

use core::{cell::RefCell, future::Future, pin::pin, time::Duration};

use alloc::{format, string::String, vec, vec::Vec};
use critical_section::Mutex;
use dormir::{
    executor::Task,
    hyperlight::{self, CallError},
    time::{Instant, Timer, with_timeout},
};
use futures_util::stream::{StreamExt, iter};
use hyperlight_guest::error::HyperlightGuestError;
use hyperlight_guest_bin::guest_function;

/// Describes how a call ended, in a few words.
fn describe(result: &Result<Vec<u8>, CallError>) -> String {
    match result {
        Ok(bytes) => format!("ok {}", bytes.len()),
        Err(error) => format!("{error:?}"),
    }
}

/// Calls the function `name` `count` times, `in_flight` at a time, each with an argument of
/// `length` bytes that it is to return. Returns how many did.
#[guest_function]
fn echoes(
    name: String,
    count: u64,
    in_flight: u64,
    length: u64,
) -> Result<u64, HyperlightGuestError> {
    let name = name.as_str();
    let good = hyperlight::block_on(async {
        let calls = iter(0..count).map(|number| async move {
            let argument = vec![number as u8; length as usize];
            let result = hyperlight::call(name, &argument).await;
            u64::from(result.is_ok_and(|bytes| bytes == argument))
        });
        let calls = pin!(calls.buffer_unordered(in_flight as usize));
        calls.fold(0, |sum, good| async move { sum + good }).await
    })?;
    Ok(good)
}

/// Calls a function without waiting for time. Returns how the call ended.
#[guest_function]
fn call_ends(name: String, length: u64) -> Result<String, HyperlightGuestError> {
    let argument = vec![7; length as usize];
    let result = hyperlight::block_on(hyperlight::call(&name, &argument))?;
    Ok(describe(&result))
}

/// Calls `large` with a budget for results. Returns how the call ended.
#[guest_function]
fn large_result(budget: u64, length: u64) -> Result<String, HyperlightGuestError> {
    hyperlight::set_result_budget(budget as usize);
    let argument = length.to_le_bytes();
    let result = hyperlight::block_on(hyperlight::call("large", &argument))?;
    Ok(describe(&result))
}

/// Lets a task tick `ticks` times, once every `micros`, beside a call of `slow`. Returns how long
/// the ticks took, and how long the call took, in nanoseconds, as little-endian words.
#[guest_function]
fn ticks_beside_a_call(ticks: u64, micros: u64) -> Result<Vec<u8>, HyperlightGuestError> {
    let (ticked, called) = hyperlight::block_on(async {
        let start = Instant::now();
        let since = move || Instant::now().saturating_duration_since(start);
        let ticking = Task::boxed(async move {
            for tick in 1..=ticks {
                Timer::at(start.saturating_add(Duration::from_micros(tick * micros))).await;
            }
            since()
        });
        let ticking = hyperlight::spawn(ticking).expect("there is room");
        let result = hyperlight::call("slow", &[]).await;
        let called = since();
        assert_eq!(result, Ok(Vec::new()));
        (ticking.await.expect("it is not aborted"), called)
    })?;
    let words = [ticked, called].map(|time| (time.as_nanos() as u64).to_le_bytes());
    Ok(words.concat())
}

/// Calls `name`, and drops the call after `micros`. Returns whether it ended before.
#[guest_function]
fn drops_a_call(name: String, micros: u64) -> Result<bool, HyperlightGuestError> {
    let limit = Duration::from_micros(micros);
    let ended = hyperlight::block_on(async {
        with_timeout(limit, hyperlight::call(&name, &[]))
            .await
            .is_ok()
    })?;
    Ok(ended)
}

/// Waits for the event `number`. Returns the number of signals.
#[guest_function]
fn awaits_event(number: u64) -> Result<u64, HyperlightGuestError> {
    let signals =
        hyperlight::block_on(async { hyperlight::event(number as u8).expect("one waits").await })?;
    Ok(signals.into())
}

/// Waits for `number`, with a time limit. Returns the number of signals, 0 after the limit.
#[guest_function]
fn awaits_event_for(number: u64, micros: u64) -> Result<u64, HyperlightGuestError> {
    let signals = hyperlight::block_on(async {
        let event = hyperlight::event(number as u8).expect("one waits");
        with_timeout(Duration::from_micros(micros), event)
            .await
            .unwrap_or(0)
    })?;
    Ok(signals.into())
}

/// How the tasks' calls ended, in their order.
static ENDS: Mutex<RefCell<Vec<String>>> = Mutex::new(RefCell::new(Vec::new()));

/// A task that calls `name`, and notes how the call ended.
fn calling(name: String) -> Task<impl Future<Output = ()>> {
    Task::boxed(async move {
        let result = hyperlight::call(&name, name.as_bytes()).await;
        let end = format!("{name} {}", describe(&result));
        critical_section::with(|cs| ENDS.borrow_ref_mut(cs).push(end));
    })
}

/// Spawns a task that calls `name`, without running it.
#[guest_function]
fn spawn_call(name: String) -> bool {
    hyperlight::spawn(calling(name)).is_ok()
}

/// Polls the tasks. Returns whether one waits for the host.
#[guest_function]
fn poll_calls() -> Result<bool, HyperlightGuestError> {
    Ok(hyperlight::poll_once()?.awaits_host)
}

/// A turn of a guest that the host drives.
#[guest_function]
fn turn() -> Result<u64, HyperlightGuestError> {
    Ok(hyperlight::poll_once()?.to_word())
}

/// Spawns a task that sleeps for `micros`, then makes `count` calls of `name` one after another.
#[guest_function]
fn spawn_calls(name: String, count: u64, micros: u64) -> bool {
    let calls = Task::boxed(async move {
        Timer::after(Duration::from_micros(micros)).await;
        for _ in 0..count {
            let result = hyperlight::call(&name, &[]).await;
            let end = format!("{name} {}", describe(&result));
            critical_section::with(|cs| ENDS.borrow_ref_mut(cs).push(end));
        }
    });
    hyperlight::spawn(calls).is_ok()
}

/// Queues a call of `name` in a task, which is polled but not sent, and ends.
#[guest_function]
fn queue_call(name: String) -> Result<(), HyperlightGuestError> {
    Ok(hyperlight::block_on(async {
        drop(hyperlight::spawn(calling(name)).expect("there is room"));
        dormir::executor::yield_now().await;
    })?)
}

/// Returns how the tasks' calls ended.
#[guest_function]
fn call_ends_so_far() -> String {
    critical_section::with(|cs| ENDS.borrow_ref(cs).join(", "))
}

/// Calls beside a task that is always ready. Returns how the call ended.
#[guest_function]
fn call_beside_busy(name: String) -> Result<String, HyperlightGuestError> {
    let result = hyperlight::block_on(async {
        let busy = Task::boxed(async {
            loop {
                dormir::executor::yield_now().await;
            }
        });
        let busy = hyperlight::spawn(busy).expect("there is room");
        let result = hyperlight::call(&name, &[]).await;
        busy.abort();
        let _ = busy.await;
        result
    })?;
    Ok(describe(&result))
}
