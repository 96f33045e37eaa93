//! Cases of sandboxes that a runtime drives.

use std::{
    convert::Infallible,
    error::Error,
    future::pending,
    time::{Duration, Instant},
};

use dormir_hyperlight_host::Host;
use hyperlight_host::{HyperlightError, Sandbox};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{
    Case,
    sandbox::{Check, MARGIN, SandboxGuest, check},
};

pub(crate) const CASES: &[Case] = &[
    ("driven-sandboxes", driven_sandboxes),
    ("driven-by-one-thread", driven_by_one_thread),
    ("driven-and-cancelled", driven_and_cancelled),
];

/// How long a call of `slow` takes, and how many a guest makes, one after another.
const SLOW: Duration = Duration::from_secs(1);
const CALLS: u64 = 3;

/// How long a guest sleeps before its calls.
const NAP: Duration = Duration::from_millis(100);

fn runtime(workers: usize) -> Result<Runtime, Box<dyn Error>> {
    let mut builder = Builder::new_multi_thread();
    Ok(builder.worker_threads(workers).enable_time().build()?)
}

fn sandbox(guest: &SandboxGuest, handle: Handle) -> Result<(Sandbox, Host), Box<dyn Error>> {
    let host = Host::new()
        .with_runtime(handle)
        .async_function("slow", |bytes| async move {
            tokio::time::sleep(SLOW).await;
            Ok::<_, Infallible>(bytes)
        })
        .async_function("forever", |_| pending::<Result<Vec<u8>, Infallible>>());
    guest.sandbox_of(host)
}

fn spawn_calls(sandbox: &mut Sandbox, name: &str) -> Check {
    let calls = (name.to_owned(), CALLS, NAP.as_micros() as u64);
    check(sandbox.call("spawn_calls", calls)?, || "no room".into())
}

fn have_ended(sandbox: &mut Sandbox) -> Check {
    let ends: String = sandbox.call("call_ends_so_far", ())?;
    check(ends == "slow ok 0, slow ok 0, slow ok 0", || ends.clone())
}

/// Makes `count` sandboxes, and drives all of them on two threads. Returns how long that took.
fn drive(guest: &SandboxGuest, count: usize) -> Result<Duration, Box<dyn Error>> {
    let runtime = runtime(2)?;
    let mut sandboxes = Vec::new();
    for _ in 0..count {
        let (mut sandbox, host) = sandbox(guest, runtime.handle().clone())?;
        spawn_calls(&mut sandbox, "slow")?;
        sandboxes.push((sandbox, host));
    }
    let start = Instant::now();
    let driven: Vec<_> = sandboxes
        .into_iter()
        .map(|(mut sandbox, host)| {
            runtime.spawn(async move {
                host.drive(&mut sandbox, "turn").await?;
                Ok::<_, HyperlightError>(sandbox)
            })
        })
        .collect();
    let sandboxes = runtime.block_on(async {
        let mut sandboxes = Vec::new();
        for driven in driven {
            sandboxes.push(driven.await??);
        }
        Ok::<_, Box<dyn Error>>(sandboxes)
    });
    let elapsed = start.elapsed();
    sandboxes?.iter_mut().try_for_each(have_ended)?;
    Ok(elapsed)
}

/// Sandboxes whose guests wait for seconds, on two threads.
fn driven_sandboxes(guest: &SandboxGuest) -> Check {
    const SANDBOXES: u32 = 12;
    let elapsed = drive(guest, SANDBOXES as usize)?;
    println!("{SANDBOXES} sandboxes with {CALLS} calls of {SLOW:?} each took {elapsed:?}");
    let each = SLOW * CALLS as u32;
    // One after another they would take twice as long at least.
    let most = each * SANDBOXES / 2;
    check(elapsed >= each && elapsed < most, || {
        format!("it took {elapsed:?}")
    })
}

/// The one thread of a runtime runs guests and functions.
fn driven_by_one_thread(guest: &SandboxGuest) -> Check {
    let runtime = Builder::new_current_thread().enable_time().build()?;
    let (mut sandbox, host) = sandbox(guest, runtime.handle().clone())?;
    spawn_calls(&mut sandbox, "slow")?;
    runtime.block_on(host.drive(&mut sandbox, "turn"))?;
    have_ended(&mut sandbox)?;
    // A guest that waits on it would wait for itself.
    let mut waits = || sandbox.call::<String>("call_ends", ("slow".to_owned(), 0_u64));
    let refused = runtime.block_on(async { waits() });
    let sentence = refused.unwrap_or_else(|error| error.to_string());
    check(sentence.contains("spawn_blocking"), || sentence.clone())
}

fn driven_and_cancelled(guest: &SandboxGuest) -> Check {
    let runtime = runtime(1)?;
    let (mut sandbox, host) = sandbox(guest, runtime.handle().clone())?;
    spawn_calls(&mut sandbox, "forever")?;
    let canceller = host.canceller(&sandbox);
    runtime.spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        canceller.cancel();
    });
    let start = Instant::now();
    let result = runtime.block_on(host.drive(&mut sandbox, "turn"));
    let is_cancelled = matches!(result, Err(HyperlightError::ExecutionCanceledByHost()));
    check(is_cancelled, || format!("{result:?}"))?;
    check(start.elapsed() < MARGIN, || "it went on".into())?;
    // The guest is as it was, and its call is lost.
    sandbox.call::<bool>("poll_calls", ())?;
    let ends: String = sandbox.call("call_ends_so_far", ())?;
    check(ends == "forever Lost", || ends.clone())
}
