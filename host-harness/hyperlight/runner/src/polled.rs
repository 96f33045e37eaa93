//! Cases of hosts that poll their guests.

use std::{
    thread,
    time::{Duration, Instant},
};

use hyperlight_host::Sandbox;

use crate::{
    Case,
    sandbox::{Check, MARGIN, SandboxGuest, check, works},
};

pub(crate) const CASES: &[Case] = &[
    ("poll-once", poll_once),
    ("poll-beside-block-on", poll_beside_block_on),
    ("poll-with-nothing-to-do", poll_with_nothing_to_do),
];

/// Makes the guest start `naps` naps, the longest of which lasts `micros`.
pub(crate) fn spawn_naps(sandbox: &mut Sandbox, naps: u64, micros: u64) -> Check {
    for nap in 1..=naps {
        let spawned: bool = sandbox.call("spawn_nap", micros * nap / naps)?;
        check(spawned, || format!("there is no room for nap {nap}"))?;
    }
    Ok(())
}

/// Polls the guest; returns the time until it must be polled again.
pub(crate) fn poll(sandbox: &mut Sandbox) -> Result<Option<Duration>, Box<dyn std::error::Error>> {
    let remaining: u64 = sandbox.call("poll", ())?;
    Ok((remaining != u64::MAX).then_some(Duration::from_nanos(remaining)))
}

/// Polls until no timer is set; returns the number of polls.
pub(crate) fn poll_to_the_end(sandbox: &mut Sandbox) -> Result<u32, Box<dyn std::error::Error>> {
    let mut polls = 1;
    while let Some(remaining) = poll(sandbox)? {
        thread::sleep(remaining);
        polls += 1;
        check(polls < 1000, || "the naps do not end".into())?;
    }
    Ok(polls)
}

fn poll_once(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    for round in 1..=5 {
        spawn_naps(&mut sandbox, 10, 500_000)?;
        let start = Instant::now();
        let polls = poll_to_the_end(&mut sandbox)?;
        let elapsed = start.elapsed();
        let ended: u64 = sandbox.call("ended", ())?;
        check(ended == round * 10, || format!("{ended} naps ended"))?;
        check(polls >= 2, || format!("{polls} polls"))?;
        let expected = Duration::from_millis(500);
        check((expected..expected + MARGIN).contains(&elapsed), || {
            format!("{expected:?} took {elapsed:?}")
        })?;
    }
    Ok(())
}

/// A call that waits also runs earlier tasks, and keeps those that have not completed.
fn poll_beside_block_on(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    spawn_naps(&mut sandbox, 10, 2_000_000)?;
    check(poll(&mut sandbox)?.is_some(), || "no nap began".into())?;
    sandbox.call::<u64>("sleepers", (10_u64, 1_000_000_u64))?;
    let ended: u64 = sandbox.call("ended", ())?;
    check(ended >= 4, || format!("{ended} naps ended meanwhile"))?;
    poll_to_the_end(&mut sandbox)?;
    let ended: u64 = sandbox.call("ended", ())?;
    check(ended == 10, || format!("{ended} naps ended"))
}

fn poll_with_nothing_to_do(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    for _ in 0..3 {
        let remaining = poll(&mut sandbox)?;
        check(remaining.is_none(), || {
            format!("{remaining:?} remain without a nap")
        })?;
    }
    works(&mut sandbox)
}
