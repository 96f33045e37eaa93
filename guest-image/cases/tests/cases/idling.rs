//! Tests of the idle policies.

use core::{cell::Cell, time::Duration};

use dormir::{
    block_on,
    idle::{Adaptive, Halt, Idle, Metered, Spin, SpinBound},
    time::{Instant, Timer},
};
use futures_util::future::join_all;
use x86_64::instructions::interrupts;

use crate::{
    device::TestDevice,
    events::{self, signals},
};

const HOUR: Duration = Duration::from_secs(3600);

/// Makes a policy that spins for up to `max` once it has seen a wait that was no longer.
fn spins_up_to(max: Duration) -> Adaptive<Metered<Halt>> {
    Adaptive::new(Metered::new(Halt)).with_bound(SpinBound::new(max).with_growth(max, 2))
}

const WAKES: u32 = 100;

/// A device wakes a waiting task a hundred times; interrupts are masked except where `idle` unmasks
/// them, and masked again afterwards.
fn wakes_with_interrupts_masked(device: &TestDevice, mut idle: impl Idle) {
    interrupts::disable();
    for _ in 0..WAKES {
        device.interrupt();
        assert_eq!(block_on(signals(), &mut idle), 1);
        assert!(!interrupts::are_enabled(), "the flag is as it was");
    }
    interrupts::enable();
    assert_eq!(device.interrupts(), WAKES);
}

#[dormir_guest::test]
fn spin_never_halts() {
    let device = events::device();
    wakes_with_interrupts_masked(&device, Spin);
    assert_eq!(device.halts_ended(), 0, "halts");
}

/// Wakes that come soon teach it to spin. While spinning it unmasks interrupts: otherwise it would
/// spin for an hour.
#[dormir_guest::test]
fn adaptive_learns_to_spin() {
    let device = events::device();
    let mut idle = spins_up_to(HOUR);
    assert_eq!(idle.bound().get(), Duration::ZERO);
    wakes_with_interrupts_masked(&device, &mut idle);
    assert_eq!(idle.bound().get(), HOUR);
    assert_eq!(device.halts_ended(), 1, "it halts until it has learnt");
}

/// It halts at first, and a long wait does not change that.
#[dormir_guest::test]
fn adaptive_halts_at_first() {
    let mut meter = Metered::new(Halt);
    let mut idle = Adaptive::new(&mut meter);
    let deadline = Instant::now().saturating_add(Duration::from_secs(1));
    block_on(Timer::at(deadline), &mut idle);
    assert!(Instant::now() >= deadline, "ended early");
    assert!(meter.waits() > 0, "it spun for a second");
}

#[dormir_guest::test]
fn spin_ends_sleeps() {
    sleeps_end(Spin);
}

#[dormir_guest::test]
fn adaptive_ends_sleeps() {
    sleeps_end(Adaptive::new(Halt));
}

#[dormir_guest::test]
fn adaptive_spins_for_long() {
    sleeps_end(spins_up_to(HOUR));
}

/// Sleepers complete, concurrently and one after another, none of them early, with interrupts
/// unmasked and masked.
fn sleeps_end(mut idle: impl Idle) {
    const SLEEPERS: u32 = 20;
    let ended = Cell::new(0);
    let sleep_until = async |deadline| {
        Timer::at(deadline).await;
        assert!(Instant::now() >= deadline, "a sleeper ended early");
        ended.set(ended.get() + 1);
    };
    for masked in [false, true] {
        if masked {
            interrupts::disable();
        }
        ended.set(0);
        let start = Instant::now().saturating_add(Duration::from_millis(200));
        let sleepers = (0..SLEEPERS)
            .map(|index| sleep_until(start.saturating_add(Duration::from_micros(500) * index)));
        block_on(join_all(sleepers), &mut idle);
        // Short waits, from which a policy may learn.
        for micros in (0..SLEEPERS).map(|nap| nap * 50) {
            let nap = Duration::from_micros(micros.into());
            let deadline = Instant::now().saturating_add(nap);
            block_on(sleep_until(deadline), &mut idle);
        }
        assert_eq!(ended.get(), 2 * SLEEPERS);
        assert_eq!(!interrupts::are_enabled(), masked, "the flag is as it was");
        interrupts::enable();
    }
}
