//! Many calls that end in every way, with restores in between.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use dormir_hyperlight_host::Host;
use hyperlight_host::Sandbox;
use tokio::runtime::{Builder, Handle};

use crate::{
    Case,
    sandbox::{Check, MARGIN, SandboxGuest, check},
};

pub(crate) const CASES: &[Case] = &[("random-calls", random_calls)];

/// How many calls a guest makes in each round, and how many rounds there are.
const CALLS: u64 = 1000;
const ROUNDS: u64 = 5;

/// The tasks that have calls in flight when a snapshot is taken.
const TASKS: u64 = 20;

/// A host whose function ends as the number in its argument says, after a random while.
fn host(handle: Handle) -> Host {
    Host::new()
        .with_runtime(handle)
        .async_function("random", |argument| async move {
            let number: [u8; 8] = argument.try_into().map_err(|_| "that is no number")?;
            let number = u64::from_le_bytes(number);
            let micros = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
            if !number.is_multiple_of(3) {
                tokio::time::sleep(Duration::from_micros(micros % 20_000)).await;
            }
            match number % 16 {
                0 => Err("on purpose"),
                1 => std::panic::resume_unwind(Box::new("on purpose")),
                3 => pending().await,
                _ if number % 61 == 60 => Ok(vec![number as u8; 50_000]),
                _ => Ok(vec![number as u8; (number % 50) as usize]),
            }
        })
}

/// Polls until no task waits for the host.
fn poll_to_the_end(sandbox: &mut Sandbox) -> Check {
    let start = Instant::now();
    while sandbox.call::<bool>("poll_calls", ())? {
        check(start.elapsed() < MARGIN, || "the calls do not end".into())?;
    }
    Ok(())
}

fn random_calls(guest: &SandboxGuest) -> Check {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()?;
    let builder = guest.builder().scratch_size(32 << 20).heap_size(8 << 20);
    let mut sandbox = builder.build()?;
    let host = host(runtime.handle().clone());
    host.register(&mut sandbox)?;
    let start = Instant::now();
    for round in 0..ROUNDS {
        let first = round * CALLS;
        let good: u64 = sandbox.call("random_calls", (first, CALLS))?;
        check(good == CALLS, || format!("{good} of {CALLS} were good"))?;
        // A snapshot of a guest with calls in flight, which goes on first as it was, then restored.
        let tasks: u64 = sandbox.call("spawn_random_calls", (first, TASKS))?;
        check(tasks == TASKS, || format!("{tasks} tasks"))?;
        sandbox.call::<bool>("poll_calls", ())?;
        let snapshot = sandbox.snapshot()?;
        if round % 2 == 0 {
            sandbox.call::<bool>("poll_calls", ())?;
        }
        sandbox.restore(snapshot)?;
        poll_to_the_end(&mut sandbox)?;
    }
    println!("{} calls took {:?}", CALLS * ROUNDS, start.elapsed());
    drop(sandbox);
    // The runtime drops what it runs when it is polled next.
    while host.usage().calls > 0 {
        check(start.elapsed() < MARGIN * 60, || {
            format!("{:?}", host.usage())
        })?;
    }
    check(host.usage().bytes == 0, || format!("{:?}", host.usage()))
}
