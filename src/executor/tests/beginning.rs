//! A place that is claimed and has no task yet: nobody else may take it for one that has.

use super::*;
use crate::{
    executor::{
        current,
        place::{JOINABLE, LOCAL},
    },
    sync::critical,
};

task! { async fn nothing(), pool = 1 {} }

/// Claims the first place, where a task was that is over. The number is that task's again, as it is after
/// 2^26 others.
fn claim_again(
    executor: &'static Executor<Up64>,
    runner: &mut Runner<Up64>,
    flags: u32,
) -> AbortHandle {
    let handle = runner.spawner().spawn(nothing()).unwrap();
    let abort = handle.abort_handle();
    drop(handle);
    runner.run(NeverIdle);
    let claimed = critical(|cs| {
        executor.book.spawned.borrow(cs).set(0);
        executor.book.claim(flags, cs)
    });
    assert!(claimed.is_some());
    assert_eq!(executor.ready.place(0).task_number(), 1);
    abort
}

#[test]
fn an_abort_of_a_claimed_place_aborts_nobody() {
    alone(|| {
        let executor = executor::<Up64>();
        let mut runner = executor.enter().unwrap();
        claim_again(executor, &mut runner, JOINABLE).abort();
        runner.pass();
        assert_eq!((executor.tasks(), executor.book.ended()), (1, 0));
    });
}

#[test]
fn a_runner_that_goes_leaves_a_claimed_place_alone() {
    alone(|| {
        let executor = executor::<Up64>();
        let mut runner = executor.enter().unwrap();
        claim_again(executor, &mut runner, JOINABLE | LOCAL);
        drop(runner);
        assert_eq!((executor.tasks(), executor.book.ended()), (1, 0));
    });
}

#[test]
fn a_claimed_place_has_no_name() {
    alone(|| {
        let executor = executor::<Up64>();
        let mut runner = executor.enter().unwrap();
        claim_again(executor, &mut runner, 0);
        let _visits = current::Visits;
        current::set(executor.ready.place(0));
        assert_eq!(current_task(), None);
        #[cfg(feature = "metrics")]
        executor.for_each_task(|task| panic!("there is no task, but {task:?}"));
    });
}
