//! Cases of calls that run tasks and return.

use std::{
    thread,
    time::{Duration, Instant},
};

use dormir_hyperlight_host::{Host, Mode};

use crate::{
    Case,
    processor_time::charged,
    sandbox::{Check, DRIFT, INTERRUPTS, MARGIN, SandboxGuest, check, works},
};

pub(crate) const CASES: &[Case] = &[
    ("mode-is-what-it-says", mode_is_what_it_says),
    ("answer", answer),
    ("sleepers", sleepers),
    ("sleeps-are-never-short", sleeps_are_never_short),
    ("many-calls", many_calls),
    ("beside-a-busy-task", beside_a_busy_task),
    ("woken-around-another", woken_around_another),
    ("idle-is-of-its-mode", idle_is_of_its_mode),
    ("host-waits-in-either-mode", host_waits_in_either_mode),
    ("periods", periods),
    ("left-over-tick", left_over_tick),
    (
        "interrupt-flag-and-timer-stay",
        interrupt_flag_and_timer_stay,
    ),
    ("clock-between-calls", clock_between_calls),
];

/// A write that poisons only a sandbox without interrupts shows that the build has the right mode.
fn mode_is_what_it_says(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    let touched = sandbox.call::<i32>("touch_the_controller", ());
    check(touched.is_ok() == INTERRUPTS, || {
        format!("a write to the interrupt controller gave {touched:?}")
    })
}

fn answer(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    let answer: i32 = sandbox.call("answer", ())?;
    check(answer == 42, || format!("the answer is {answer}"))
}

/// Ten tasks with ten deadlines; the guest asserts that none completes early.
fn sleepers(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    let start = Instant::now();
    let elapsed: u64 = sandbox.call("sleepers", (10_u64, 50_000_u64))?;
    let (elapsed, by_host) = (Duration::from_nanos(elapsed), start.elapsed());
    let expected = Duration::from_millis(50);
    check(elapsed >= expected, || format!("50 ms took {elapsed:?}"))?;
    check((expected..expected + MARGIN).contains(&by_host), || {
        format!("50 ms took {by_host:?} by the host's clock, {elapsed:?} by the guest's")
    })
}

fn sleeps_are_never_short(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    for micros in [0, 1, 10, 100, 999, 1_000, 1_001, 10_000, 100_000] {
        let start = Instant::now();
        let late: u64 = sandbox.call("overslept", micros)?;
        let asked = Duration::from_micros(micros);
        let elapsed = start.elapsed();
        check(elapsed >= asked && elapsed < asked + MARGIN, || {
            format!("{asked:?} took {elapsed:?}")
        })?;
        check(Duration::from_nanos(late) < MARGIN, || {
            format!("{asked:?} was {late} ns too long by the guest's clock")
        })?;
    }
    Ok(())
}

/// Calls in a row, each with sleeping tasks, with snapshots and restores in between: to the present
/// state, so that 200 calls fill the pool of 64 tasks or the heap of 128 KiB if each leaves a task or
/// 700 bytes behind, and at last to the first. Each tenth call sleeps so long that the guest waits.
fn many_calls(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    let first = sandbox.snapshot()?;
    for call in 0..220 {
        let micros: u64 = if call % 10 == 0 { 20_000 } else { 3_000 };
        let elapsed: u64 = sandbox
            .call("sleepers", (5_u64, micros))
            .map_err(|error| format!("call {call}: {error}"))?;
        let elapsed = Duration::from_nanos(elapsed);
        let expected = Duration::from_micros(micros);
        check((expected..expected + MARGIN).contains(&elapsed), || {
            format!("call {call}: {expected:?} took {elapsed:?}")
        })?;
        if call % 10 == 9 {
            let now = sandbox.snapshot()?;
            let snapshot = if call < 200 { now } else { first.clone() };
            sandbox.restore(snapshot)?;
        }
    }
    check(sandbox.status().is_ready(), || "it is poisoned".into())
}

/// No interrupt ends a poll, so the clock must be checked while tasks are always ready.
fn beside_a_busy_task(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    let start = Instant::now();
    let turns: u64 = sandbox.call("beside_busy", 5_000_u64)?;
    let elapsed = start.elapsed();
    check(turns >= 2, || format!("{turns} turns"))?;
    check(elapsed < Duration::from_millis(5) + MARGIN, || {
        format!("5 ms took {elapsed:?}")
    })
}

/// dormir's own `block_on` in a task does not consume a wake of the call.
fn woken_around_another(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    let polls: i32 = sandbox.call("woken_around_another", ())?;
    check(polls == 2, || format!("{polls} polls"))
}

/// A guest with interrupts halts from tick to tick. One without has no ticks, and does not spin.
fn idle_is_of_its_mode(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    // Long enough that the guest waits, however slow it is.
    let (_, busy) = charged(|| sandbox.call::<u64>("overslept", 1_000_000_u64))?;
    let ticks: u64 = sandbox.call("ticks", ())?;
    check((ticks > 0) == INTERRUPTS, || format!("{ticks} ticks"))?;
    check(INTERRUPTS || busy < Duration::from_millis(300), || {
        format!("a sleep of a second took {busy:?} of processor time")
    })
}

fn host_waits_in_either_mode(guest: &SandboxGuest) -> Check {
    let host = Host::new().with_mode(Mode::HostWait)?;
    let (mut sandbox, _host) = guest.sandbox_of(host)?;
    sandbox.call::<u64>("overslept", 1_000_000_u64)?;
    let ticks: u64 = sandbox.call("ticks", ())?;
    check(ticks == 0, || format!("{ticks} ticks"))
}

fn periods(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    for micros in [100, 5_000, 250] {
        sandbox.call::<()>("set_period", micros as u64)?;
        let start = Instant::now();
        sandbox.call::<u64>("sleepers", (4_u64, 10_000_u64))?;
        let elapsed = start.elapsed();
        check(elapsed < Duration::from_millis(10) + MARGIN, || {
            format!("10 ms took {elapsed:?} at a period of {micros} µs")
        })?;
    }
    Ok(())
}

/// A call leaves the timer armed, and a pending tick.
fn left_over_tick(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    if !INTERRUPTS {
        // There is no timer, and its port would poison the sandbox.
        return works(&mut sandbox);
    }
    for _ in 0..20 {
        sandbox.call::<()>("leave_a_tick", 300_u64)?;
        let answer: i32 = sandbox.call("plain", ())?;
        check(answer == 42, || format!("the answer is {answer}"))?;
        sandbox.call::<()>("leave_a_tick", 300_u64)?;
        works(&mut sandbox)?;
    }
    Ok(())
}

fn interrupt_flag_and_timer_stay(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    let flags: u64 = sandbox.call("interrupt_flags", 3_000_u64)?;
    check(flags == 0, || {
        format!("interrupts were unmasked: {flags:#b}")
    })?;
    // One may have been pending.
    let late: u64 = sandbox.call("ticks_after_a_sleep", 30_000_u64)?;
    check(late <= 1, || {
        format!("the timer ticked {late} times after its sleep")
    })?;
    let ticks = |sandbox: &mut hyperlight_host::Sandbox| sandbox.call::<u64>("ticks", ());
    let before = ticks(&mut sandbox)?;
    thread::sleep(Duration::from_millis(20));
    // A call without a wait gets no tick.
    sandbox.call::<i32>("answer", ())?;
    let after = ticks(&mut sandbox)?;
    check(before == after, || format!("{before} ticks became {after}"))
}

/// The guest's clock advances with the host's between calls.
fn clock_between_calls(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    let mut start = Instant::now();
    let mut last: u64 = sandbox.call("clock", ())?;
    for millis in [0, 1, 30, 3] {
        let next = Instant::now();
        thread::sleep(Duration::from_millis(millis));
        let now: u64 = sandbox.call("clock", ())?;
        let elapsed = Duration::from_nanos(now.checked_sub(last).ok_or("it went back")?);
        let slept = Duration::from_millis(millis);
        check(elapsed + DRIFT >= slept, || {
            format!("{slept:?} took {elapsed:?} by the guest's clock")
        })?;
        // From inside the previous call to inside this one.
        let longest = start.elapsed() + DRIFT;
        check(elapsed <= longest, || {
            format!("{longest:?} at most took {elapsed:?} by the guest's clock")
        })?;
        (last, start) = (now, next);
    }
    Ok(())
}
