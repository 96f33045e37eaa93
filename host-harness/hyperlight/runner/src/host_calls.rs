//! Cases of async host calls.

use std::{
    convert::Infallible,
    error::Error,
    thread,
    time::{Duration, Instant},
};

use dormir_hyperlight_host::{Host, Limits};
use functions::{Forever, host};
use hyperlight_host::{HostFunctions, HyperlightError, Sandbox, SandboxBuilder};

use crate::{
    Case, exits,
    sandbox::{
        CANCELLED_WITHIN, Check, INTERRUPTS, MARGIN, SandboxGuest, cancelled_after, check, says,
        works,
    },
};

mod functions;
mod hostile;

pub(crate) const CASES: &[Case] = &[
    ("calls-at-once", calls_at_once),
    ("calls-with-linger", calls_with_linger),
    ("calls-end-in-every-way", calls_end_in_every_way),
    ("large-results", large_results),
    ("ticks-beside-a-call", ticks_beside_a_call),
    ("call-beside-a-busy-task", call_beside_a_busy_task),
    ("dropped-calls", dropped_calls),
    ("cancelled-calls", cancelled_calls),
    ("events", events),
    ("calls-by-poll-once", calls_by_poll_once),
    ("restored-calls", restored_calls),
    ("exits-of-calls", exits_of_calls),
    ("hostile-batches", hostile::hostile_batches),
];

fn sandbox(guest: &SandboxGuest) -> Result<(Sandbox, Host, Forever), Box<dyn Error>> {
    let forever = Forever::default();
    let (sandbox, host) = guest.roomy_sandbox_of(host(&forever))?;
    Ok((sandbox, host, forever))
}

/// Makes the guest call `name` `count` times, `in_flight` at a time. Returns how long that took,
/// and how many exchanges for each call.
fn echoes(
    (sandbox, host): (&mut Sandbox, &Host),
    name: &str,
    (count, in_flight): (u64, u64),
    length: u64,
) -> Result<(Duration, f64), Box<dyn Error>> {
    let before = host.usage().exchanges;
    let start = Instant::now();
    let good: u64 = sandbox.call("echoes", (name.to_owned(), count, in_flight, length))?;
    let elapsed = start.elapsed();
    check(good == count, || format!("{good} of {count} were good"))?;
    let exchanges = host.usage().exchanges - before;
    let per_call = exchanges as f64 / count as f64;
    println!("{count} calls of {name}, {in_flight} in flight: {elapsed:?}, {per_call} exits each");
    Ok((elapsed, per_call))
}

/// A hundred calls in flight take a tenth of the time at most that they take one after another.
fn calls_at_once(guest: &SandboxGuest) -> Check {
    let (mut sandbox, host, _) = sandbox(guest)?;
    let (one_by_one, _) = echoes((&mut sandbox, &host), "slow", (100, 1), 8)?;
    echoes((&mut sandbox, &host), "slow", (100, 10), 8)?;
    let (at_once, per_call) = echoes((&mut sandbox, &host), "slow", (100, 100), 8)?;
    // On a machine that does nothing else it is 10 to 20 times (docs/host-calls.md).
    check(at_once * 5 <= one_by_one, || {
        format!("{at_once:?} at once, {one_by_one:?} one by one")
    })?;
    check(per_call <= 0.05, || format!("{per_call} exits each"))?;
    works(&mut sandbox)
}

fn calls_with_linger(guest: &SandboxGuest) -> Check {
    // How many results come within 5 ms depends on what else the machine does, and so on the first
    // of them. All come within 100 ms; the wait ends with the last of them.
    for (linger, most) in [(5, 0.3), (100, 0.15)] {
        let forever = Forever::default();
        let host = host(&forever).with_linger(Duration::from_millis(linger));
        let (mut sandbox, host) = guest.roomy_sandbox_of(host)?;
        let (_, per_call) = echoes((&mut sandbox, &host), "slow", (100, 10), 8)?;
        check(per_call <= most, || {
            format!("{per_call} exits each with a linger of {linger} ms")
        })?;
    }
    Ok(())
}

fn calls_end_in_every_way(guest: &SandboxGuest) -> Check {
    let forever = Forever::default();
    let host = host(&forever).with_limits(Limits::new().with_bytes(5000));
    // The largest argument, beside all else that this guest has, is too much for the default size.
    let builder = guest.builder().scratch_size(2 << 20).heap_size(1 << 20);
    let mut sandbox = builder.build()?;
    host.register(&mut sandbox)?;
    for (name, length, expected) in [
        ("echo", 0, "ok 0"),
        ("echo", 4000, "ok 4000"),
        ("echo", 6000, "Busy"),
        ("echo", 40_000, "TooLarge"),
        ("fails", 0, "Host(\"on purpose\")"),
        ("panics", 0, "Panicked"),
        ("nothing", 0, "Unknown"),
        ("large", 1, "Host(\"no length\")"),
    ] {
        let end: String = sandbox.call("call_ends", (name.to_owned(), length as u64))?;
        check(end == expected, || {
            format!("{name} of {length} bytes: {end}")
        })?;
    }
    let usage = host.usage();
    check(usage.calls <= 1 && usage.bytes < 100, || {
        format!("{usage:?}")
    })?;
    works(&mut sandbox)
}

/// Results in pieces, in a sandbox of the default size and in one with more memory, and results
/// that are too large.
fn large_results(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox_of(host(&Forever::default()))?;
    for (budget, length, expected) in [
        (40_960, 40_000_u64, "ok 40000"),
        (40_960, 40_961, "TooLarge"),
        (100_000_000, 10_000_000, "TooLarge"),
    ] {
        let end: String = sandbox.call("large_result", (budget as u64, length))?;
        check(end == expected, || format!("{length} bytes: {end}"))?;
    }
    let host = host(&Forever::default());
    let builder = guest.builder().scratch_size(8 << 20).heap_size(4 << 20);
    let mut sandbox = builder.build()?;
    host.register(&mut sandbox)?;
    let end: String = sandbox.call("large_result", (1_u64 << 20, 300_000_u64))?;
    check(end == "ok 300000", || format!("300000 bytes: {end}"))?;
    let exchanges = host.usage().exchanges;
    println!("300,000 bytes took {exchanges} exchanges");
    check(exchanges <= 9, || format!("{exchanges} exchanges"))?;
    let good: u64 = sandbox.call("echoes", ("echo".to_owned(), 40_u64, 20_u64, 30_000_u64))?;
    check(good == 40, || format!("{good} of 40 large echoes"))
}

/// Ten ticks of 10 ms go on beside a call of a second and a half.
fn ticks_beside_a_call(guest: &SandboxGuest) -> Check {
    let forever = Forever::default();
    let host = host(&forever).async_function("slow", |_| async {
        thread::sleep(Duration::from_millis(1500));
        Ok::<_, Infallible>(Vec::new())
    });
    let (mut sandbox, _host) = guest.sandbox_of(host)?;
    let words: Vec<u8> = sandbox.call("ticks_beside_a_call", (10_u64, 10_000_u64))?;
    let (words, _) = words.as_chunks::<8>();
    let times: Vec<_> = words
        .iter()
        .map(|word| Duration::from_nanos(u64::from_le_bytes(*word)))
        .collect();
    println!("ten ticks of 10 ms and a call of 1.5 s took {times:?}");
    check(times[0] >= Duration::from_millis(100), || {
        format!("{times:?}")
    })?;
    check(times[0] < Duration::from_millis(1000), || {
        format!("the ticks waited for the call: {times:?}")
    })?;
    check(times[1] >= Duration::from_millis(1500), || {
        format!("{times:?}")
    })
}

/// A task that is always ready keeps no call from going and coming.
fn call_beside_a_busy_task(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host, _) = sandbox(guest)?;
    let end: String = sandbox.call("call_beside_busy", "slow".to_owned())?;
    check(end == "ok 0", || end.clone())
}

/// A call that is dropped ends the host's future, at once.
fn dropped_calls(guest: &SandboxGuest) -> Check {
    let (mut sandbox, host, forever) = sandbox(guest)?;
    for _ in 0..3 {
        let ended: bool = sandbox.call("drops_a_call", ("forever".to_owned(), 100_000_u64))?;
        check(!ended, || "it ended".into())?;
        forever.become_running(0)?;
    }
    check(host.usage().started == 3, || format!("{:?}", host.usage()))?;
    // It ends before its limit.
    let ended: bool = sandbox.call("drops_a_call", ("echo".to_owned(), 60_000_000_u64))?;
    check(ended, || "it did not end".into())?;
    works(&mut sandbox)
}

/// A guest's call that is cancelled, and a sandbox that goes, end the host's futures.
fn cancelled_calls(guest: &SandboxGuest) -> Check {
    let (mut sandbox, host, forever) = sandbox(guest)?;
    let canceller = host.canceller(&sandbox);
    let call = || sandbox.call::<String>("call_ends", ("forever".to_owned(), 0_u64));
    let (result, took) = cancelled_after(canceller, Duration::from_millis(300), call);
    says(result, &["cancelled"])?;
    check(took < CANCELLED_WITHIN, || {
        format!("it ended {took:?} later")
    })?;
    forever.become_running(0)?;

    let (mut sandbox, host) = guest.sandbox_of(self::host(&forever))?;
    for _ in 0..5 {
        sandbox.call::<bool>("spawn_call", "forever".to_owned())?;
    }
    check(sandbox.call::<bool>("poll_calls", ())?, || "no call".into())?;
    forever.become_running(5)?;
    drop(sandbox);
    forever.become_running(0)?;
    check(host.usage().calls == 0, || format!("{:?}", host.usage()))
}

/// Signals end a wait; those that come first are not lost.
fn events(guest: &SandboxGuest) -> Check {
    let (mut sandbox, host, _) = sandbox(guest)?;
    let signaller = host.signaller();
    for _ in 0..3 {
        signaller.signal(200);
    }
    let signals: u64 = sandbox.call("awaits_event", 200_u64)?;
    check(signals == 3, || format!("{signals} signals came first"))?;
    let other = signaller.clone();
    let signals = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        other.signal(7);
    });
    let start = Instant::now();
    let count: u64 = sandbox.call("awaits_event", 7_u64)?;
    let elapsed = start.elapsed();
    signals.join().expect("it does not panic");
    check(count == 1 && elapsed >= Duration::from_millis(200), || {
        format!("{count} signals after {elapsed:?}")
    })?;
    check(elapsed < MARGIN, || format!("it took {elapsed:?}"))?;
    // Another event than the one that is awaited is kept.
    signaller.signal(1);
    let none: u64 = sandbox.call("awaits_event_for", (2_u64, 50_000_u64))?;
    check(none == 0, || format!("{none} signals of another event"))?;
    let kept: u64 = sandbox.call("awaits_event", 1_u64)?;
    check(kept == 1, || format!("{kept} signals were kept"))
}

/// Polls until no task waits for the host.
fn poll_to_the_end(sandbox: &mut Sandbox) -> Check {
    let start = Instant::now();
    while sandbox.call::<bool>("poll_calls", ())? {
        check(start.elapsed() < MARGIN, || "the calls do not end".into())?;
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn calls_by_poll_once(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host, _) = sandbox(guest)?;
    for name in ["slow", "fails", "echo"] {
        sandbox.call::<bool>("spawn_call", name.to_owned())?;
    }
    poll_to_the_end(&mut sandbox)?;
    let ends: String = sandbox.call("call_ends_so_far", ())?;
    for end in ["slow ok 4", "fails Host(\"on purpose\")", "echo ok 4"] {
        check(ends.contains(end), || format!("no `{end}` in {ends}"))?;
    }
    Ok(())
}

/// What was in flight when the snapshot was taken is lost, what was queued is sent, and so are
/// calls that are new in the first batch.
fn restored_calls(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host, forever) = sandbox(guest)?;
    sandbox.call::<bool>("spawn_call", "forever".to_owned())?;
    sandbox.call::<bool>("poll_calls", ())?;
    forever.become_running(1)?;
    sandbox.call::<()>("queue_call", "slow".to_owned())?;
    sandbox.call::<bool>("spawn_call", "echo".to_owned())?;
    let snapshot = sandbox.snapshot()?;
    let finish = |sandbox: &mut Sandbox| -> Check {
        poll_to_the_end(sandbox)?;
        let ends: String = sandbox.call("call_ends_so_far", ())?;
        for end in ["forever Lost", "slow ok 4", "echo ok 4"] {
            check(ends.contains(end), || format!("no `{end}` in {ends}"))?;
        }
        Ok(())
    };
    // The state is the one in which it is: nothing is lost.
    sandbox.restore(snapshot.clone())?;
    check(sandbox.call::<bool>("poll_calls", ())?, || "lost".into())?;
    check(forever.running() == 1, || "it was ended".into())?;
    sandbox.restore(snapshot.clone())?;
    finish(&mut sandbox)?;
    check(forever.running() == 0, || "it is still running".into())?;

    // In another sandbox.
    let mut functions = HostFunctions::default();
    let host = host(&forever);
    host.register(&mut functions)?;
    let builder = SandboxBuilder::from_snapshot(snapshot).host_functions(functions);
    finish(&mut builder.build()?)
}

/// What calls cost in exchanges with the host; and that the executor costs no exit of any kind, if
/// neither time nor host is used.
fn exits_of_calls(guest: &SandboxGuest) -> Check {
    let (mut sandbox, host, _) = sandbox(guest)?;
    let mut exits = |call: &dyn Fn(&mut Sandbox) -> Result<(), HyperlightError>| {
        let before = (host.usage().exchanges, exits::so_far());
        call(&mut sandbox)?;
        let exchanges = host.usage().exchanges - before.0;
        Ok::<_, HyperlightError>((exchanges, exits::so_far() - before.1))
    };
    for _ in 0..3 {
        let plain = exits(&|sandbox| sandbox.call::<i32>("plain", ()).map(drop))?;
        let answer = exits(&|sandbox| sandbox.call::<i32>("answer", ()).map(drop))?;
        println!(
            "{} exits without an executor, {} with one",
            plain.1, answer.1
        );
        check(plain.0 == 0 && plain.1 > 0 && plain == answer, || {
            format!("exchanges and exits: {plain:?} without an executor, {answer:?} with one")
        })?;
        let (clock, _) = exits(&|sandbox| sandbox.call::<u64>("clock", ()).map(drop))?;
        check(clock == 1, || {
            format!("{clock} exchanges to read the clock")
        })?;
        let call = |sandbox: &mut Sandbox| {
            sandbox
                .call::<String>("call_ends", ("echo".to_owned(), 0_u64))
                .map(drop)
        };
        let (call, of_call) = exits(&call)?;
        println!("{of_call} exits with one call of the host");
        check(call == 1, || format!("{call} exchanges for one call"))?;
        let sleep = |sandbox: &mut Sandbox| sandbox.call::<u64>("overslept", 200_000_u64).map(drop);
        let (sleep, _) = exits(&sleep)?;
        let expected = if INTERRUPTS { 1 } else { 2 };
        check(sleep == expected, || {
            format!("{sleep} exchanges for a sleep")
        })?;
    }
    Ok(())
}
