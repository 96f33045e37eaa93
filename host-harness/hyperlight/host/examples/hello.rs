//! A complete host: `cargo run --example hello -- GUEST`, where GUEST is the program of dormir's
//! `guest-image/hyperlight`, or any with a function `sleepers(tasks, microseconds) -> nanoseconds`.

use std::{env, error::Error, thread, time::Duration};

use dormir_hyperlight_host::Host;
use hyperlight_host::{HyperlightError, SandboxBuilder};

fn main() -> Result<(), Box<dyn Error>> {
    let guest = env::args()
        .nth(1)
        .ok_or("name the guest program: `cargo run --example hello -- GUEST`")?;

    // One Host for each sandbox, with its clock and its waits.
    let mut sandbox = SandboxBuilder::from_file(guest).build()?;
    let host = Host::new().with_longest_wait(Duration::from_secs(60));
    host.register(&mut sandbox)?;
    let snapshot = sandbox.snapshot()?;

    // Ten tasks, which sleep concurrently for up to 50 ms.
    let nanos: u64 = sandbox.call("sleepers", (10_u64, 50_000_u64))?;
    println!("ten tasks slept: {:?}", Duration::from_nanos(nanos));

    // Cancels a call that takes too long, even while the guest waits.
    let canceller = host.canceller(&sandbox);
    let limit = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        canceller.cancel()
    });
    match sandbox.call::<u64>("sleepers", (1_u64, 10_000_000_u64)) {
        Err(HyperlightError::ExecutionCanceledByHost()) => println!("cancelled after 100 ms"),
        other => println!("it should have been cancelled: {other:?}"),
    }
    limit.join().expect("it does not panic");

    // The sandbox is poisoned until it is restored. The guest's clock continues from the
    // snapshot's. (With hw-interrupts, build a new one with `SandboxBuilder::from_snapshot`: see
    // docs/hyperlight.md.)
    if cfg!(not(feature = "hw-interrupts")) {
        sandbox.restore(snapshot)?;
        let nanos: u64 = sandbox.call("sleepers", (3_u64, 5_000_u64))?;
        println!("and again: {:?}", Duration::from_nanos(nanos));
    }
    Ok(())
}
