//! Bugs that users of other runtimes' timers have reported, where a machine shows more than the
//! library's tests on the host.

use alloc::vec::Vec;
use core::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use dormir::{
    block_on,
    idle::Halt,
    platform::bare,
    time::{Delay, Instant, Ticker, Timer, with_timeout},
};
use embedded_hal::delay::DelayNs;
use futures_util::future::{join, join_all};

use crate::probes::yield_now;

fn from_now(duration: Duration) -> Instant {
    Instant::now().saturating_add(duration)
}

/// A deadline that passes before, while or just after the alarm is written blocks neither its own
/// timer nor the next.
#[dormir_guest::test]
fn alarm_in_the_past() {
    for step in 0..200 {
        let start = Instant::now();
        let soon = start.saturating_add(Duration::from_nanos(step * 50));
        let follows = start.saturating_add(Duration::from_micros(300));
        block_on(join(Timer::at(soon), Timer::at(follows)), Halt);
        assert!(Instant::now() >= follows, "ended early");
    }
    // In a task that was woken by a timer, while the alarm is set for another.
    let later = from_now(Duration::from_millis(10));
    let past = async {
        Timer::after(Duration::from_millis(1)).await;
        for ago in [Duration::MAX, Duration::from_millis(5), Duration::ZERO] {
            Timer::at(Instant::now().saturating_sub(ago)).await;
            Timer::after(Duration::from_nanos(1)).await;
        }
    };
    block_on(join(Timer::at(later), past), Halt);
    assert!(Instant::now() >= later, "ended early");
}

/// The last instant is the deadline that is hardest to convert to ticks. It is centuries away: its
/// alarm interrupts no more often than the counter expires, and naps are unaffected.
#[dormir_guest::test]
fn sentinel_deadline() {
    let mut last = pin!(Timer::at(Instant::from_nanos(u64::MAX - 1)));
    let mut never = pin!(Timer::never());
    let before = bare::timer_interrupts();
    let start = Instant::now();
    block_on(
        async {
            let mut context = Context::from_waker(Waker::noop());
            assert!(last.as_mut().poll(&mut context).is_pending());
            assert!(never.as_mut().poll(&mut context).is_pending());
            // The alarm is set for it now.
            for _ in 0..20 {
                yield_now().await;
                Delay.delay_us(500);
            }
            for _ in 0..20 {
                Timer::after(Duration::from_millis(1)).await;
            }
            assert!(last.as_mut().poll(&mut context).is_pending());
            assert!(never.as_mut().poll(&mut context).is_pending());
        },
        Halt,
    );
    // Twenty for the naps, and one per 54.9 ms with the PIT, whose counter is the shortest; more if
    // the vCPU is descheduled for long.
    let steps = start.elapsed().as_millis() as u64 / 54 + 1;
    let interrupts = bare::timer_interrupts() - before;
    assert!(
        interrupts <= 2 * 20 + 2 * steps,
        "{interrupts} interrupts for 20 naps"
    );
}

/// A duration that exceeds the clock's range, or comes close to its end, does not become a deadline
/// in the past.
#[dormir_guest::test]
fn overflow_in_now_plus_duration() {
    let remaining = Duration::from_nanos(u64::MAX - Instant::now().as_nanos());
    let second = Duration::from_secs(1);
    for long in [
        remaining - second,
        remaining,
        remaining + second,
        Duration::from_nanos(u64::MAX),
        Duration::from_secs(u64::MAX),
        Duration::MAX,
    ] {
        let nap = Timer::after(Duration::from_micros(500));
        let end = nap.deadline();
        let mut ticker = Ticker::every(long);
        let ended = block_on(
            with_timeout(
                long,
                join(nap, async {
                    with_timeout(Duration::from_micros(100), ticker.next()).await
                }),
            ),
            Halt,
        );
        let (_, tick) = ended.expect("a limit of centuries does not pass");
        assert!(tick.is_err(), "a tick after {long:?}");
        assert!(Instant::now() >= end, "ended early");
    }
}

/// Deadlines closer together than the duration of an interrupt cause at most one interrupt each.
#[dormir_guest::test]
fn near_deadline_storm() {
    const TIMES: u64 = 500;
    let before = bare::timer_interrupts();
    let soon = from_now(Duration::from_micros(100));
    let timers: Vec<_> = (0..TIMES)
        .map(|n| Timer::at(soon.saturating_add(Duration::from_nanos(100 * n))))
        .collect();
    block_on(join_all(timers), Halt);
    let interrupts = bare::timer_interrupts() - before;
    assert!(interrupts <= TIMES, "{interrupts} for {TIMES} timers");

    const PERIOD: Duration = Duration::from_micros(1);
    let before = bare::timer_interrupts();
    let start = Instant::now();
    let mut ticker = Ticker::starting_at(start.saturating_add(PERIOD), PERIOD);
    let passed = block_on(
        async {
            let mut passed = 0;
            for _ in 0..TIMES {
                passed += ticker.next().await + 1;
            }
            passed
        },
        Halt,
    );
    let interrupts = bare::timer_interrupts() - before;
    assert!(interrupts <= 2 * TIMES, "{interrupts} for {TIMES} ticks");
    // No tick came early, and none was missed.
    let ticks = start.elapsed().as_nanos() / PERIOD.as_nanos();
    assert!(
        (TIMES..=ticks as u64).contains(&passed),
        "{passed} of {ticks}"
    );
    let next = start.saturating_add(PERIOD * (passed as u32 + 1));
    assert_eq!(ticker.deadline(), next, "the ticks have drifted");
}

/// Timeouts that are not reached leave no alarms behind.
#[dormir_guest::test]
fn cancelled_timers_pile_up() {
    const TIMES: u32 = 300;
    let limit = Duration::from_millis(50);
    let start = Instant::now();
    let before = bare::timer_interrupts();
    block_on(
        async {
            for _ in 0..TIMES {
                // Pending once, so that each timer is armed.
                with_timeout(limit, yield_now()).await.unwrap_or_default();
            }
            Timer::after(4 * limit).await;
        },
        Halt,
    );
    // At most one per 50 ms, during the timeouts and the nap; fewer than there were timeouts.
    let most = 2 * (start.elapsed().as_millis() / limit.as_millis() + 1);
    let interrupts = bare::timer_interrupts() - before;
    assert!(
        u128::from(interrupts) <= most,
        "{interrupts} interrupts, more than {most}"
    );
}
