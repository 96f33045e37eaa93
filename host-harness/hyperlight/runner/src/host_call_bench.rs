//! The measurement of host calls. Each line of output is one figure:
//! `host_call/WHAT/IN_FLIGHT/BYTES CALLS NANOSECONDS EXITS`.

use std::{
    convert::Infallible,
    thread,
    time::{Duration, Instant},
};

use dormir_hyperlight_host::Host;
use hyperlight_host::{Sandbox, func::Registerable};
use tokio::runtime::Builder;

use crate::sandbox::{Check, SandboxGuest, check};

/// The measurement's name.
pub(crate) const NAME: &str = "host-calls";

/// How long each function takes.
const SLOW: Duration = Duration::from_millis(50);

/// What is in flight, and the bytes of argument and result of each call.
const LOADS: &[(u64, u64)] = &[
    (1, 8),
    (10, 8),
    (100, 8),
    (1000, 8),
    (1, 30_000),
    (10, 30_000),
];

pub(crate) fn run(guest: &SandboxGuest, limit: Duration) -> Check {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()?;
    let host = Host::new()
        .with_runtime(runtime.handle().clone())
        .async_function("slow", |bytes| async move {
            tokio::time::sleep(SLOW).await;
            Ok::<_, Infallible>(bytes)
        });
    // A thousand calls in flight need memory, and so do large results.
    let builder = guest.builder().scratch_size(32 << 20).heap_size(16 << 20);
    let mut sandbox = builder.build()?;
    host.register(&mut sandbox)?;
    sandbox.register_host_function("plain_slow", |argument: u64| {
        thread::sleep(SLOW);
        argument
    })?;
    sandbox.call::<String>("large_result", (1_u64 << 20, 0_u64))?;

    let mut plain = |count: u64| -> Result<u64, Box<dyn std::error::Error>> {
        sandbox.call::<()>("plain_calls", count)?;
        // Each is an exit.
        Ok(count)
    };
    measure("plain", (1, 8), limit, &mut plain)?;
    for load in LOADS {
        let (in_flight, bytes) = *load;
        let mut calls = |count: u64| {
            let before = host.usage().exchanges;
            echoes(&mut sandbox, (count, in_flight, bytes))?;
            Ok(host.usage().exchanges - before)
        };
        measure("async", *load, limit, &mut calls)?;
    }
    Ok(())
}

fn echoes(sandbox: &mut Sandbox, (count, in_flight, bytes): (u64, u64, u64)) -> Check {
    let good: u64 = sandbox.call("echoes", ("slow".to_owned(), count, in_flight, bytes))?;
    check(good == count, || format!("{good} of {count} were good"))
}

/// Makes calls until there were ten rounds of what is in flight, or a seventh of the time is over.
/// `calls` makes a number of them, and returns the exits.
fn measure(
    what: &str,
    (in_flight, bytes): (u64, u64),
    limit: Duration,
    calls: &mut dyn FnMut(u64) -> Result<u64, Box<dyn std::error::Error>>,
) -> Check {
    const ROUNDS: u64 = 10;
    calls(in_flight)?;
    let start = Instant::now();
    let (mut count, mut exits) = (0, 0);
    while count == 0 || (count < in_flight * ROUNDS && start.elapsed() < limit / 7) {
        // Long enough that calls follow others while some are in flight.
        let batch = in_flight * 5;
        exits += calls(batch)?;
        count += batch;
    }
    let nanos = start.elapsed().as_nanos();
    println!("host_call/{what}/{in_flight}/{bytes} {count} {nanos} {exits}");
    Ok(())
}
