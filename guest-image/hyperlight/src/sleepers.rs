//! Tasks that sleep.

use core::{task::Poll, time::Duration};

use alloc::vec::Vec;
use dormir::{
    executor::{Task, yield_now},
    hyperlight,
    idle::Spin,
    time::{Instant, Timer},
};
use hyperlight_guest::error::HyperlightGuestError;
use hyperlight_guest_bin::guest_function;

dormir::tasks! {
    /// Returns by how much it overslept.
    async fn sleeper(length: Duration) -> Duration, pool = 64 {
        let until = Instant::now().saturating_add(length);
        Timer::at(until).await;
        let end = Instant::now();
        assert!(end >= until, "woken at {end}, before {until}");
        end.saturating_duration_since(until)
    }
}

/// Runs `tasks` tasks; the first sleeps longest, each following one shorter. Returns how many
/// nanoseconds of the guest's clock that took.
#[guest_function]
fn sleepers(tasks: u64, micros: u64) -> Result<u64, HyperlightGuestError> {
    let elapsed = hyperlight::block_on(async {
        let start = Instant::now();
        let handles: Vec<_> = (0..tasks)
            .map(|task| {
                let length = Duration::from_micros(micros * (tasks - task) / tasks);
                hyperlight::spawn(sleeper(length)).expect("there is room")
            })
            .collect();
        for handle in handles {
            handle.await.expect("it is not aborted");
        }
        Instant::now().saturating_duration_since(start)
    })?;
    Ok(elapsed.as_nanos() as u64)
}

/// Runs `tasks` tasks on the heap, each with a future of over 512 bytes, which sleep concurrently.
/// Returns how many still had their bytes afterwards.
#[guest_function]
fn boxed_sleepers(tasks: u64, micros: u64) -> Result<u64, HyperlightGuestError> {
    let until = Duration::from_micros(micros);
    let kept = hyperlight::block_on(async {
        let mut handles = Vec::new();
        for task in 0..tasks {
            let sleeper = Task::boxed(async move {
                let bytes = core::hint::black_box([task as u8; 512]);
                Timer::after(until).await;
                bytes.iter().all(|byte| *byte == task as u8)
            });
            handles.push(hyperlight::spawn(sleeper).expect("there is room"));
        }
        let mut kept = 0;
        for handle in handles {
            kept += u64::from(handle.await.expect("it is not aborted"));
        }
        kept
    })?;
    Ok(kept)
}

/// Sleeps once. Returns by how many nanoseconds the sleep was too long.
#[guest_function]
fn overslept(micros: u64) -> Result<u64, HyperlightGuestError> {
    let late = hyperlight::block_on(async {
        let until = Instant::now().saturating_add(Duration::from_micros(micros));
        Timer::at(until).await;
        Instant::now().saturating_duration_since(until)
    })?;
    Ok(late.as_nanos() as u64)
}

/// Sleeps beside a task that is always ready. Returns how often this future was polled.
#[guest_function]
fn beside_busy(micros: u64) -> Result<u64, HyperlightGuestError> {
    let turns = hyperlight::block_on(async {
        let busy = Task::boxed(async {
            loop {
                yield_now().await;
            }
        });
        let busy = hyperlight::spawn(busy).expect("there is room");
        let mut turns = 0_u64;
        let until = Instant::now().saturating_add(Duration::from_micros(micros));
        let mut sleep = core::pin::pin!(Timer::at(until));
        core::future::poll_fn(|context| {
            turns += 1;
            sleep.as_mut().poll(context)
        })
        .await;
        busy.abort();
        let _ = busy.await;
        turns
    })?;
    Ok(turns)
}

/// Runs a future that is woken while its poll runs another `block_on`, which must not consume the
/// wake. Returns the number of polls.
#[guest_function]
fn woken_around_another() -> Result<i32, HyperlightGuestError> {
    let polls = hyperlight::block_on(async {
        let mut polls = 0;
        core::future::poll_fn(|context| {
            polls += 1;
            if polls > 1 {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            dormir::block_on(Timer::after(Duration::from_millis(1)), Spin);
            Poll::Pending
        })
        .await;
        polls
    })?;
    Ok(polls)
}

/// Returns the guest's clock, in nanoseconds.
#[guest_function]
fn clock() -> Result<u64, HyperlightGuestError> {
    Ok(hyperlight::block_on(async { Instant::now().as_nanos() })?)
}

/// Returns how often the timer has ticked since the guest began.
#[guest_function]
fn ticks() -> u64 {
    hyperlight::ticks()
}

/// Sets the timer's period.
#[guest_function]
fn set_period(micros: u64) {
    hyperlight::set_tick_period(Duration::from_micros(micros));
}
