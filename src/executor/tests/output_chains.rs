//! Chains of outputs that hold each other's handles and outlive their runner.
#![cfg(feature = "alloc")]

use super::*;

/// Each output holds the handle of the task before.
struct Chained {
    _before: Option<Box<JoinHandle<Chained>>>,
    _counted: Counted,
}

/// The outputs are dropped one after the other, not one inside the other, which would overflow the
/// stack.
#[test]
fn a_long_chain_of_outputs_does_not_overflow_the_stack() {
    // Under Miri the larger one takes too long.
    #[cfg(miri)]
    type Roomy = Up4096;
    #[cfg(not(miri))]
    type Roomy = Up65536;
    let links = if cfg!(miri) { 100 } else { 60_000 };
    static EXECUTOR: Executor<Roomy> = Executor::new(Shared);
    let executor = &EXECUTOR;
    let mut runner = executor.enter().unwrap();
    let drops = Drops::default();
    let mut last = None;
    for _ in 0..links {
        let (held, counted) = (last.take().map(Box::new), drops.counted());
        let task = Task::boxed(async move {
            Chained {
                _before: held,
                _counted: counted,
            }
        });
        last = Some(runner.spawner().spawn(task).unwrap());
    }
    runner.run(NeverIdle);
    drop(runner);
    assert_eq!(executor.core.ended(), links);
    drop(last);
    assert_eq!((drops.count(), executor.core.ended()), (links, 0));
}

/// The handles are dropped with one output, so that several outputs wait at once.
#[test]
fn outputs_whose_handles_are_dropped_together_are_all_dropped() {
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let drops = Drops::default();
    let held: Vec<_> = (0..3)
        .map(|_| {
            let counted = drops.counted();
            let task = Task::boxed(async move { counted });
            runner.spawner().spawn(task).unwrap()
        })
        .collect();
    let outer = Task::boxed(async { held });
    let outer = runner.spawner().spawn(outer).unwrap();
    runner.run(NeverIdle);
    drop(outer);
    assert_eq!((drops.count(), executor.core.ended()), (3, 0));
}

/// If the drop of one output unwinds, the others are dropped all the same.
#[test]
fn a_chain_of_outputs_is_dropped_even_if_one_unwinds() {
    struct Unwinding;
    impl Drop for Unwinding {
        fn drop(&mut self) {
            unwind();
        }
    }
    struct Link {
        _before: Option<Box<JoinHandle<Link>>>,
        _counted: Counted,
        _unwinding: Option<Unwinding>,
    }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let drops = Drops::default();
    let mut last = None;
    for link in 0..30 {
        let (held, counted) = (last.take().map(Box::new), drops.counted());
        let unwinding = (link == 20).then(|| Unwinding);
        let task = Task::boxed(async move {
            Link {
                _before: held,
                _counted: counted,
                _unwinding: unwinding,
            }
        });
        last = Some(runner.spawner().spawn(task).unwrap());
    }
    runner.run(NeverIdle);
    drop(runner);
    assert!(unwinds(|| drop(last)));
    assert_eq!((drops.count(), executor.core.ended()), (30, 0));
    drop(executor.enter().unwrap());
}
