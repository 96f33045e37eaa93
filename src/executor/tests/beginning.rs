//! A slot that was claimed but has no task yet is not treated as if it had one.

use super::*;
use crate::{
    executor::{
        current,
        slot::{JOINABLE, LOCAL, NUMBER},
    },
    sync::critical,
};

tasks! { async fn nothing(), pool = 1 {} }

/// Claims the first slot, whose task has ended, again for the same number. So the abort handle that
/// this returns names a task that has not begun.
fn claim_again(
    executor: &'static Executor<Up64>,
    runner: &mut Runner<Up64>,
    flags: u64,
) -> AbortHandle {
    let handle = runner.spawner().spawn(nothing()).unwrap();
    let abort = handle.abort_handle();
    drop(handle);
    runner.run(NeverIdle);
    let claimed = critical(|cs| {
        executor.core.spawned.borrow(cs).set(0);
        executor.core.claim(flags, cs)
    });
    assert!(claimed.is_some());
    assert_eq!(executor.ready.slot(0).task_number(), 1);
    abort
}

/// Task numbers do not wrap, at any width up to 32 bits.
#[test]
fn an_abort_handle_does_not_abort_a_much_later_task() {
    tasks! { async fn waits(), pool = 1 { core::future::pending().await } }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let first = runner.spawner().spawn(waits()).unwrap();
    let stale = first.abort_handle();
    stale.abort();
    runner.run(NeverIdle);
    drop(first);
    for width in 20..=32 {
        // As if `2^width` tasks were spawned meanwhile: the next number ends in the same bits.
        critical(|cs| {
            let next = (1 << width) << NUMBER;
            executor.core.spawned.borrow(cs).set(next);
        });
        let other = runner.spawner().spawn(waits()).unwrap();
        stale.abort();
        runner.pass();
        assert!(!other.is_finished(), "it was 2^{width} tasks later");
        other.abort();
        runner.run(NeverIdle);
    }
}

#[test]
fn an_abort_of_a_claimed_slot_does_nothing() {
    alone(|| {
        let executor = executor::<Up64>();
        let mut runner = executor.enter().unwrap();
        claim_again(executor, &mut runner, JOINABLE).abort();
        runner.pass();
        assert_eq!((executor.tasks(), executor.core.ended()), (1, 0));
    });
}

#[test]
fn a_leaving_runner_skips_a_claimed_slot() {
    alone(|| {
        let executor = executor::<Up64>();
        let mut runner = executor.enter().unwrap();
        claim_again(executor, &mut runner, JOINABLE | LOCAL);
        drop(runner);
        assert_eq!((executor.tasks(), executor.core.ended()), (1, 0));
    });
}

#[test]
fn a_claimed_slot_has_no_task_name() {
    alone(|| {
        let executor = executor::<Up64>();
        let mut runner = executor.enter().unwrap();
        claim_again(executor, &mut runner, 0);
        let _outer = current::OuterTask::here();
        current::set(executor.ready.slot(0));
        assert_eq!(current_task(), None);
        #[cfg(feature = "metrics")]
        executor.for_each_task(|task| panic!("there is no task, but {task:?}"));
    });
}
