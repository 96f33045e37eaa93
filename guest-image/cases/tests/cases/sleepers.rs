//! Tests with many sleepers at once.

use alloc::vec::Vec;
use core::{
    cell::RefCell,
    future::Future,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use dormir::{
    block_on,
    idle::Halt,
    time::{Instant, Timer},
};
use futures_util::future::join_all;

/// All must wait before the first ends, even if the vCPU is descheduled for this long.
const AWAY: Duration = Duration::from_secs(2);

/// A thousand joined sleepers, created in a scrambled order, complete in the order of their
/// deadlines, none of them early.
#[dormir_guest::test]
fn thousand_end_in_order() {
    const SLEEPERS: u64 = 1000;
    const APART: Duration = Duration::from_micros(50);
    let ended = RefCell::new(Vec::with_capacity(SLEEPERS as usize));
    let start = Instant::now().saturating_add(time_to_begin(SLEEPERS) * 3 + AWAY);
    // 619 is coprime to 1000, so each index occurs once.
    let sleepers = (0..SLEEPERS)
        .map(|index| index * 619 % SLEEPERS)
        .map(|rank| {
            let deadline = start.saturating_add(APART * rank as u32);
            let ended = &ended;
            async move {
                Timer::at(deadline).await;
                assert!(Instant::now() >= deadline, "sleeper {rank} ended early");
                ended.borrow_mut().push(rank);
            }
        });
    block_on(join_all(sleepers), Halt);
    assert!(
        ended.borrow().iter().copied().eq(0..SLEEPERS),
        "ended in another order: {ended:?}"
    );
}

/// Measures how long it takes to create `sleepers` sleepers and poll each once. On a machine that
/// emulates each instruction, that is longer than the time between two deadlines.
fn time_to_begin(sleepers: u64) -> Duration {
    let start = Instant::now();
    let far = start.saturating_add(Duration::from_secs(3600));
    let mut all = pin!(join_all((0..sleepers).map(|_| Timer::at(far))));
    let mut context = Context::from_waker(Waker::noop());
    assert!(all.as_mut().poll(&mut context).is_pending());
    Instant::now().saturating_duration_since(start)
}

/// Sleepers with the same deadline complete in the order in which they began to wait.
#[dormir_guest::test]
fn with_one_deadline() {
    let ended = RefCell::new(Vec::new());
    let deadline = Instant::now().saturating_add(AWAY);
    let sleepers = (0..50).map(|number| {
        let ended = &ended;
        async move {
            Timer::at(deadline).await;
            ended.borrow_mut().push(number);
        }
    });
    block_on(join_all(sleepers), Halt);
    assert!(
        ended.borrow().iter().copied().eq(0..50),
        "ended in another order: {ended:?}"
    );
}
