//! All slots of an executor, looked at one by one.

use super::*;
use crate::{
    executor::{
        executor_core::ExecutorCore,
        slot::{ENDED, LIVE},
    },
    sync::critical,
};
use std::collections::BTreeSet;

/// Checks that each slot is either in the free list, once, or live, or ended, and that the counts
/// are those of the slots.
pub(super) fn check<C: Capacity, M: Cpus>(executor: &'static Executor<C, M>) {
    let states = || (0..C::TASKS).map(|number| executor.ready.slot(number).state());
    let count = |flag: u64| {
        states()
            .filter(|state| state.load(Ordering::Relaxed) & flag != 0)
            .count()
    };
    let core: &ExecutorCore = &executor.core;
    let (live, ended) = (count(LIVE), count(ENDED));
    assert_eq!(
        (core.live(), core.ended()),
        (live, ended),
        "live and ended slots"
    );
    let mut free = BTreeSet::new();
    let mut list = critical(|cs| core.free.borrow(cs).get());
    while let Some(slot) = list.take(C::TASKS, |slot| {
        executor.ready.slot(slot).task_number() as u32
    }) {
        assert!(free.insert(slot), "slot {slot} is in the free list twice");
        let state = executor.ready.slot(slot).state().load(Ordering::Relaxed);
        assert_eq!(state & (LIVE | ENDED), 0, "slot {slot} is free and in use");
    }
    assert_eq!(
        free.len() + live + ended,
        C::TASKS as usize,
        "a slot is lost"
    );
}
