//! Cases of sandboxes on the runtime that runs their functions.

use std::{
    convert::Infallible,
    error::Error,
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};

use dormir_hyperlight_host::Host;
use hyperlight_host::{HyperlightError, Sandbox};
use tokio::runtime::{Builder, Handle};

use crate::{
    Case,
    sandbox::{Check, MARGIN, SandboxGuest, check},
};

pub(crate) const CASES: &[Case] = &[
    ("called-in-workers", called_in_workers),
    ("called-in-a-blocking-thread", called_in_a_blocking_thread),
    (
        "driven-tasks-that-nothing-wakes",
        driven_tasks_that_nothing_wakes,
    ),
    (
        "driven-and-cancelled-at-any-time",
        driven_and_cancelled_at_any_time,
    ),
];

fn sandbox(guest: &SandboxGuest, handle: Handle) -> Result<(Sandbox, Host), Box<dyn Error>> {
    let host = Host::new()
        .with_runtime(handle)
        .async_function("slow", |bytes| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok::<_, Infallible>(bytes)
        })
        .async_function("forever", |_| pending::<Result<Vec<u8>, Infallible>>());
    guest.sandbox_of(host)
}

/// Makes three calls of `slow`, one after another.
fn calls_slow(sandbox: &mut Sandbox) -> hyperlight_host::Result<Vec<String>> {
    let mut call = |_| sandbox.call("call_ends", ("slow".to_owned(), 0_u64));
    (0..3).map(&mut call).collect()
}

/// In the runtime's own threads, as many of them as there are, and more.
fn called_in_workers(guest: &SandboxGuest) -> Check {
    for workers in [1, 3] {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(workers).enable_time().build()?;
        let mut calls = Vec::new();
        for _ in 0..=workers {
            let (mut sandbox, _host) = sandbox(guest, runtime.handle().clone())?;
            calls.push(runtime.spawn(async move { calls_slow(&mut sandbox) }));
        }
        for call in calls {
            let ends = runtime.block_on(async { tokio::time::timeout(MARGIN, call).await });
            let Ok(ends) = ends else {
                // The threads that wait do not end.
                runtime.shutdown_background();
                return Err("the calls do not end".into());
            };
            let ends = ends??;
            check(ends == ["ok 0"; 3], || format!("{ends:?}"))?;
        }
    }
    Ok(())
}

fn called_in_a_blocking_thread(guest: &SandboxGuest) -> Check {
    let runtime = Builder::new_current_thread().enable_time().build()?;
    let (mut sandbox, _host) = sandbox(guest, runtime.handle().clone())?;
    let calls = move || calls_slow(&mut sandbox).map(|ends| (ends, sandbox));
    let calls = runtime.block_on(async { tokio::task::spawn_blocking(calls).await });
    let (ends, mut sandbox) = calls??;
    check(ends.len() == 3, || format!("{ends:?}"))?;
    // Now nothing runs the runtime.
    let start = Instant::now();
    let sentence = match calls_slow(&mut sandbox) {
        Ok(ends) => format!("{ends:?}"),
        Err(error) => error.to_string(),
    };
    check(sentence.contains("no thread runs it"), || sentence.clone())?;
    // After the ten seconds that the runtime has for the first poll.
    check(start.elapsed() < 4 * MARGIN, || "it waited".into())?;
    check(!sandbox.status().is_poisoned(), || "it is poisoned".into())
}

fn driven_tasks_that_nothing_wakes(guest: &SandboxGuest) -> Check {
    let runtime = Builder::new_current_thread().enable_time().build()?;
    let (mut sandbox, host) = sandbox(guest, runtime.handle().clone())?;
    check(sandbox.call("spawn_pending", ())?, || "no room".into())?;
    let driven = runtime.block_on(host.drive(&mut sandbox, "turn"));
    let sentence = driven.map_or_else(|error| error.to_string(), |()| "it ended".into());
    check(sentence.contains("nothing can wake"), || sentence.clone())
}

/// In the wait, in the guest, between two turns; and the guest makes its call again and again.
fn driven_and_cancelled_at_any_time(guest: &SandboxGuest) -> Check {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_time().build()?;
    for round in 0..12_u64 {
        let (mut sandbox, host) = sandbox(guest, runtime.handle().clone())?;
        let calls = ("forever".to_owned(), u64::MAX, 1000_u64);
        check(sandbox.call("spawn_calls", calls)?, || "no room".into())?;
        let canceller = host.canceller(&sandbox);
        let host = Arc::new(host);
        let watched = Arc::clone(&host);
        let cancel = runtime.spawn(async move {
            // It has begun.
            while watched.usage().exchanges == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(Duration::from_millis(round * 7)).await;
            canceller.cancel();
        });
        let driven = runtime.block_on(async {
            tokio::time::timeout(MARGIN, host.drive(&mut sandbox, "turn")).await
        });
        runtime.block_on(cancel)?;
        let is_cancelled = matches!(driven, Ok(Err(HyperlightError::ExecutionCanceledByHost())));
        check(is_cancelled, || format!("round {round}: {driven:?}"))?;
    }
    Ok(())
}
