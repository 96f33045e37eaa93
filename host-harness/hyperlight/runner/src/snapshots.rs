//! Cases of snapshots, restored in the same and in other sandboxes.

use std::{
    thread,
    time::{Duration, Instant},
};

use dormir_hyperlight_host::Host;
use hyperlight_host::{HostFunctions, Sandbox, SandboxBuilder};

use crate::{
    Case,
    polled::{poll, poll_to_the_end, spawn_naps},
    sandbox::{Check, DRIFT, MARGIN, SandboxGuest, check, works},
};

pub(crate) const CASES: &[Case] = &[
    ("restored-between-polls", restored_between_polls),
    ("restored-in-another-sandbox", restored_in_another_sandbox),
    ("snapshots-do-not-wear-out", snapshots_do_not_wear_out),
    ("clock-through-restores", clock_through_restores),
];

const NAP: Duration = Duration::from_millis(2400);

/// Starts a nap, and returns how much of it remains after a while.
fn napping(sandbox: &mut Sandbox) -> Result<Duration, Box<dyn std::error::Error>> {
    spawn_naps(sandbox, 1, NAP.as_micros() as u64)?;
    poll(sandbox)?;
    thread::sleep(NAP / 3);
    let left = poll(sandbox)?.ok_or("the nap is over")?;
    check(left <= NAP - NAP / 3 + DRIFT, || {
        format!("{left:?} are left of {NAP:?}")
    })?;
    Ok(left)
}

/// Checks that the same time remains after a restore: the nap ends neither early nor, as it would
/// by the host's clock, before it is polled.
fn ends_after(sandbox: &mut Sandbox, left: Duration) -> Check {
    let start = Instant::now();
    let now = poll(sandbox)?.ok_or("the nap has ended")?;
    // Only the time of this call counts, not that of the restore or before it.
    let call = start.elapsed() + DRIFT;
    check(now <= left && now + call >= left, || {
        format!("{left:?} were left, and {now:?} after a call of {call:?}")
    })?;
    // Time goes on at once, even if the host's clock is behind what the guest has seen.
    let before: u64 = sandbox.call("clock", ())?;
    thread::sleep(left / 4);
    let after: u64 = sandbox.call("clock", ())?;
    let passed = Duration::from_nanos(after.saturating_sub(before));
    check(passed + DRIFT >= left / 4, || {
        format!("only {passed:?} passed in {:?}", left / 4)
    })?;
    poll_to_the_end(sandbox)?;
    let elapsed = start.elapsed();
    check(elapsed + DRIFT >= now && elapsed < left + MARGIN, || {
        format!("{now:?} took {elapsed:?}")
    })?;
    let ended: u64 = sandbox.call("ended", ())?;
    check(ended == 1, || format!("{ended} naps ended"))
}

fn restored_between_polls(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    let left = napping(&mut sandbox)?;
    let snapshot = sandbox.snapshot()?;
    poll_to_the_end(&mut sandbox)?;
    for _ in 0..2 {
        thread::sleep(NAP);
        sandbox.restore(snapshot.clone())?;
        ends_after(&mut sandbox, left)?;
    }
    works(&mut sandbox)
}

/// As on another host: with another epoch and another generation.
fn restored_in_another_sandbox(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    // A clock that started from zero would need this much longer.
    sandbox.call::<u64>("sleepers", (1_u64, 1_500_000_u64))?;
    let left = napping(&mut sandbox)?;
    let snapshot = sandbox.snapshot()?;
    drop(sandbox);
    thread::sleep(NAP);
    for _ in 0..2 {
        let mut functions = HostFunctions::default();
        let host = Host::new();
        host.register(&mut functions)?;
        let mut sandbox = SandboxBuilder::from_snapshot(snapshot.clone())
            .host_functions(functions)
            .build()?;
        ends_after(&mut sandbox, left)?;
        works(&mut sandbox)?;
    }
    Ok(())
}

/// A hundred snapshots, each restored, with sleeps between some.
fn snapshots_do_not_wear_out(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    for round in 0..100 {
        if round % 8 == 0 {
            works(&mut sandbox)?;
        }
        let snapshot = sandbox.snapshot()?;
        sandbox.call::<i32>("answer", ())?;
        sandbox.restore(snapshot)?;
    }
    works(&mut sandbox)
}

/// The clock continues from its time at the snapshot, and never goes back.
fn clock_through_restores(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    works(&mut sandbox)?;
    let shown: u64 = sandbox.call("clock", ())?;
    let snapshot = sandbox.snapshot()?;
    sandbox.call::<u64>("clock", ())?;
    for _ in 0..3 {
        thread::sleep(Duration::from_secs(1));
        sandbox.restore(snapshot.clone())?;
        let start = Instant::now();
        let now: u64 = sandbox.call("clock", ())?;
        let call = start.elapsed() + DRIFT;
        let since = Duration::from_nanos(now.checked_sub(shown).ok_or("it went back")?);
        check(since <= call, || {
            format!("it went on by {since:?} in a restore and a call of {call:?}")
        })?;
        works(&mut sandbox)?;
    }
    Ok(())
}
