//! Timers and the clock. Each of these runs with whatever timer the machine has or the argument
//! `timer=` forces.

use core::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use dormir::{
    block_on,
    idle::{Halt, Metered},
    platform::bare,
    time::{Delay, Instant, Timer},
};
use dormir_guest::{args, println};
use embedded_hal::delay::DelayNs;

use crate::{Case, probes::CountingWaker};

pub(crate) const CASES: &[Case] = &[
    ("timer-source", timer_source),
    ("timer-beyond-the-counter", beyond_the_counter),
    ("timer-in-the-past", in_the_past),
    ("timer-a-few-ticks-away", a_few_ticks_away),
    ("timer-dropped-never-fires", dropped_never_fires),
    ("timer-reset", reset),
    ("timer-follows-the-last-waker", follows_the_last_waker),
    ("timer-never-disturbs-no-other", never_disturbs_no_other),
    ("clock-never-goes-back", clock_never_goes_back),
    ("delay-is-never-short", delay_is_never_short),
];

/// The timer is the one that was asked for, and naps are ended by its interrupt, none of
/// them early.
fn timer_source() {
    let machine = bare::machine().expect("set up before main");
    println!(
        "timer {} at {} Hz; TSC at {} Hz, {}",
        machine.timer, machine.timer_hz, machine.tsc_hz, machine.tsc_source
    );
    if let Some(asked) = args::value("timer") {
        assert_eq!(asked.parse(), Ok(machine.timer));
    }
    let mut idle = Metered::new(Halt);
    let before = bare::timer_interrupts();
    const NAPS: u64 = 20;
    let start = Instant::now();
    for millis in 1..=NAPS {
        let deadline = Instant::now().saturating_add(Duration::from_millis(millis));
        block_on(Timer::at(deadline), &mut idle);
        assert!(
            Instant::now() >= deadline,
            "a nap of {millis} ms ended early"
        );
    }
    // 210 ms of naps. Ten times that is not lateness but a wrong scale.
    let took = Instant::now().saturating_since(start);
    assert!(
        took < Duration::from_millis(2100),
        "{took:?} for 210 ms of naps"
    );
    // A vCPU that loses its processor for some milliseconds finds the deadline passed without having
    // slept; that most naps go so would need an explanation.
    let interrupts = bare::timer_interrupts() - before;
    assert!(
        interrupts >= NAPS / 2,
        "{interrupts} timer interrupts for {NAPS} naps"
    );
    assert!(
        idle.waits() >= NAPS / 2,
        "{} halts for {NAPS} naps",
        idle.waits()
    );
}

/// A nap longer than the PIT's 54.9 ms, which it reaches in steps.
fn beyond_the_counter() {
    let before = bare::timer_interrupts();
    let deadline = Instant::now().saturating_add(Duration::from_millis(200));
    block_on(Timer::at(deadline), Halt);
    assert!(Instant::now() >= deadline, "ended early");
    let interrupts = bare::timer_interrupts() - before;
    let is_pit = bare::machine().is_some_and(|machine| machine.timer == bare::TimerSource::Pit);
    // Four steps, fewer where the vCPU loses its processor for longer than one; ten times as many
    // would be a storm.
    let expected = if is_pit { 2..=40 } else { 1..=10 };
    assert!(
        expected.contains(&interrupts),
        "{interrupts} interrupts for one nap"
    );
}

/// A deadline that has passed is due at the first poll, without an interrupt.
fn in_the_past() {
    for deadline in [Instant::START, Instant::now()] {
        let mut timer = pin!(Timer::at(deadline));
        let mut context = Context::from_waker(Waker::noop());
        assert!(timer.as_mut().poll(&mut context).is_ready());
        // And so it stays.
        assert!(timer.as_mut().poll(&mut context).is_ready());
    }
}

/// Deadlines too near to be armed in time are neither lost nor stormed over.
fn a_few_ticks_away() {
    let before = bare::timer_interrupts();
    const NAPS: u64 = 200;
    for nanos in 0..NAPS {
        block_on(
            async { Timer::after(Duration::from_nanos(nanos * 50)).await },
            Halt,
        );
    }
    let interrupts = bare::timer_interrupts() - before;
    assert!(
        interrupts <= NAPS * 2,
        "{interrupts} interrupts for {NAPS} short naps"
    );
}

/// A timer that was polled and dropped wakes nobody.
fn dropped_never_fires() {
    let counter = CountingWaker::new();
    {
        let mut timer = pin!(Timer::after(Duration::from_millis(200)));
        assert!(counter.poll(timer.as_mut()).is_pending());
    }
    block_on(
        async { Timer::after(Duration::from_millis(300)).await },
        Halt,
    );
    assert_eq!(counter.wakes(), 0);
}

/// A timer takes a new deadline, before it ends and after.
fn reset() {
    let start = Instant::now();
    let after = |millis| start.saturating_add(Duration::from_millis(millis));
    let mut timer = pin!(Timer::at(after(3_600_000)));
    let mut context = Context::from_waker(Waker::noop());
    assert!(timer.as_mut().poll(&mut context).is_pending());
    for millis in [10, 20] {
        timer.as_mut().reset(after(millis));
        block_on(timer.as_mut(), Halt);
        assert!(Instant::now() >= after(millis), "ended early");
    }
    assert!(
        Instant::now() < after(60_000),
        "slept on after its deadline was moved nearer"
    );
}

/// A timer that is polled by another task wakes that one, and it alone.
fn follows_the_last_waker() {
    let (first, last) = (CountingWaker::new(), CountingWaker::new());
    let mut timer = pin!(Timer::after(Duration::from_millis(200)));
    for counter in [&first, &last] {
        assert!(counter.poll(timer.as_mut()).is_pending());
    }
    block_on(
        async { Timer::after(Duration::from_millis(300)).await },
        Halt,
    );
    assert_eq!((first.wakes(), last.wakes()), (0, 1));
}

/// A timer without end is no obstacle to those that have one.
fn never_disturbs_no_other() {
    let mut never = pin!(Timer::after(Duration::MAX));
    let mut nap = pin!(Timer::after(Duration::from_millis(5)));
    block_on(
        core::future::poll_fn(|cx| {
            assert_eq!(never.as_mut().poll(cx), Poll::Pending);
            nap.as_mut().poll(cx)
        }),
        Halt,
    );
}

/// The busy wait for drivers.
fn delay_is_never_short() {
    for nanos in [0, 1, 1_000, 1_000_000] {
        let start = Instant::now();
        Delay.delay_ns(nanos);
        let waited = Instant::now().saturating_since(start);
        assert!(
            waited >= Duration::from_nanos(nanos.into()),
            "{waited:?} for {nanos} ns"
        );
    }
}

fn clock_never_goes_back() {
    let mut last = Instant::now();
    for _ in 0..20_000 {
        let now = Instant::now();
        assert!(now >= last, "{now} after {last}");
        last = now;
    }
}
