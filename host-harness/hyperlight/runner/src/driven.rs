//! Cases of sandboxes that a runtime drives.

use std::{
    convert::Infallible,
    error::Error,
    future::pending,
    time::{Duration, Instant},
};

use dormir_hyperlight_host::Host;
use hyperlight_host::{HostFunctions, HyperlightError, Sandbox, SandboxBuilder};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{
    Case, exits,
    process::Process,
    processor_time::charged,
    sandbox::{Check, MARGIN, SandboxGuest, check},
};

pub(crate) const CASES: &[Case] = &[
    ("driven-sandboxes", |guest| {
        driven_sandboxes(guest, 12).map(|_| ())
    }),
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

fn host(handle: Handle) -> Host {
    Host::new()
        .with_runtime(handle)
        .async_function("slow", |bytes| async move {
            tokio::time::sleep(SLOW).await;
            Ok::<_, Infallible>(bytes)
        })
        .async_function("forever", |_| pending::<Result<Vec<u8>, Infallible>>())
}

fn spawn_calls(sandbox: &mut Sandbox, name: &str) -> Check {
    let calls = (name.to_owned(), CALLS, NAP.as_micros() as u64);
    check(sandbox.call("spawn_calls", calls)?, || "no room".into())
}

fn have_ended(sandbox: &mut Sandbox) -> Check {
    let ends: String = sandbox.call("call_ends_so_far", ())?;
    check(ends == "slow ok 0, slow ok 0, slow ok 0", || ends.clone())
}

/// Makes `count` sandboxes whose guests have calls to make, all from one snapshot: that takes a
/// fraction of the time of building each from the guest's file.
fn sandboxes(
    guest: &SandboxGuest,
    count: u64,
    handle: &Handle,
) -> Result<Vec<(Sandbox, Host)>, Box<dyn Error>> {
    let (mut first, host) = guest.sandbox_of(host(handle.clone()))?;
    spawn_calls(&mut first, "slow")?;
    let snapshot = first.snapshot()?;
    let mut sandboxes = vec![(first, host)];
    for _ in 1..count {
        let host = self::host(handle.clone());
        let mut functions = HostFunctions::default();
        host.register(&mut functions)?;
        let builder = SandboxBuilder::from_snapshot(snapshot.clone());
        let sandbox = builder.host_functions(functions).build()?;
        sandboxes.push((sandbox, host));
    }
    Ok(sandboxes)
}

/// Drives all of them to their end by the function `turn`, and returns them.
pub(crate) fn drive(
    runtime: &Runtime,
    sandboxes: Vec<(Sandbox, Host)>,
) -> Result<Vec<(Sandbox, Host)>, Box<dyn Error>> {
    let drive = |(mut sandbox, host): (Sandbox, Host)| {
        runtime.spawn(async move {
            host.drive(&mut sandbox, "turn").await?;
            Ok::<_, HyperlightError>((sandbox, host))
        })
    };
    let driven: Vec<_> = sandboxes.into_iter().map(drive).collect();
    runtime.block_on(async {
        let mut sandboxes = Vec::new();
        for driven in driven {
            sandboxes.push(driven.await??);
        }
        Ok(sandboxes)
    })
}

/// The most threads of this process: the runtime's two, the one for timers, this one, the one that
/// watches, and some that take over from workers for a millisecond, or longer on a busy machine.
const THREADS: u64 = 16;

/// Drives `count` sandboxes, whose guests wait for seconds, on two threads. Returns of how many the
/// guests say that their calls have ended.
pub(crate) fn driven_sandboxes(guest: &SandboxGuest, count: u64) -> Result<u64, Box<dyn Error>> {
    let runtime = runtime(2)?;
    let start = Instant::now();
    let sandboxes = sandboxes(guest, count, runtime.handle())?;
    let built = start.elapsed();
    println!(
        "{count} sandboxes were built in {built:?}; {}",
        Process::now()?
    );
    let start = Instant::now();
    let before = exits::so_far();
    let (watched, charged) = charged(|| Process::watched(|| drive(&runtime, sandboxes)))?;
    let elapsed = start.elapsed();
    let (driven, most) = watched;
    let mut sandboxes = driven?;
    let exits = exits::so_far() - before;
    println!(
        "with {CALLS} calls of {SLOW:?} in each they were driven in {elapsed:?}, with {exits} \
         exits and {charged:?} of processor time; {most}"
    );
    let mut ended = 0;
    for (sandbox, _) in &mut sandboxes {
        have_ended(sandbox)?;
        ended += 1;
    }
    let each = SLOW * CALLS as u32;
    check(elapsed >= each, || format!("it took {elapsed:?}"))?;
    check(most.threads <= THREADS, || {
        format!("at most {THREADS} threads were expected: {most}")
    })?;
    // One after another they would take twice as long at least.
    check(count < 4 || elapsed < each * count as u32 / 2, || {
        format!("it took {elapsed:?}")
    })?;
    Ok(ended)
}

/// The one thread of a runtime runs guests and functions.
fn driven_by_one_thread(guest: &SandboxGuest) -> Check {
    let runtime = Builder::new_current_thread().enable_time().build()?;
    let (mut sandbox, host) = guest.sandbox_of(host(runtime.handle().clone()))?;
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
    let (mut sandbox, host) = guest.sandbox_of(host(runtime.handle().clone()))?;
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
