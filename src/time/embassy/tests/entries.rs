//! Entries against models: no wake is late or double, and wakes are early only if the table is
//! full.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{RawWaker, RawWakerVTable, Wake, Waker},
    vec::Vec,
};

use proptest::prelude::*;

use super::table;
use crate::{
    test_support::leak,
    time::{
        embassy::{slot::DeadlineSlot, table::TableEntry},
        testing::{Recording, at, queue},
    },
};

/// Wakers with the numbers from 0.
pub(super) fn wakers<const N: usize>(recording: &Recording) -> [Waker; N] {
    std::array::from_fn(|number| recording.waker(number))
}

const SLEEPERS: usize = 7;

#[derive(Clone, Debug)]
enum Step {
    /// Nanoseconds before or after now.
    Schedule(usize, i64),
    Clear(usize),
    Advance(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..SLEEPERS, -5_i64..60).prop_map(|(who, after)| Step::Schedule(who, after)),
        1 => (0..SLEEPERS).prop_map(Step::Clear),
        3 => (0_u64..30).prop_map(Step::Advance),
    ];
    prop::collection::vec(step, 1..150)
}

fn cases() -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 6 } else { 512 },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Each sleeper's earliest deadline since its last wake.
#[derive(Default)]
struct Model(BTreeMap<usize, u64>);

impl Model {
    fn schedule(&mut self, who: usize, deadline: u64) {
        let earliest = self.0.entry(who).or_insert(deadline);
        *earliest = deadline.min(*earliest);
    }

    /// Checks the wakes of a turn of the queue at `now`.
    fn turned(&mut self, woken: &[usize], now: u64) {
        let mut last = 0;
        for who in woken {
            let deadline = self.0.remove(who).expect("it asked to be woken");
            assert!(deadline <= now, "{who} was woken early");
            assert!(last <= deadline, "{who} was woken out of order");
            last = deadline;
        }
        let next = self.next();
        assert!(next.is_none_or(|next| next > now), "at {now}: {:?}", self.0);
    }

    fn next(&self) -> Option<u64> {
        self.0.values().min().copied()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn slots_keep_the_earliest_deadline(steps in steps()) {
        let (queue, clock) = queue();
        let slots: &[DeadlineSlot; SLEEPERS] = leak([const { DeadlineSlot::new() }; SLEEPERS]);
        let sleepers = Recording::default();
        let wakers = wakers::<SLEEPERS>(&sleepers);
        let (mut now, mut model) = (100, Model::default());
        clock.advance_to(at(now), queue);
        for step in steps {
            match step {
                Step::Schedule(who, after) => {
                    let deadline = now.saturating_add_signed(after);
                    model.schedule(who, deadline);
                    // SAFETY: all calls are with this queue; the wakers only count.
                    unsafe { slots[who].schedule(queue, at(deadline), &wakers[who]) };
                }
                Step::Clear(who) => {
                    model.0.remove(&who);
                    // SAFETY: the same.
                    unsafe { slots[who].clear(queue) };
                }
                Step::Advance(nanos) => {
                    now += nanos;
                    clock.advance_to(at(now), queue);
                }
            }
            let next = queue.turn();
            model.turned(&sleepers.take(), now);
            prop_assert_eq!(next, model.next().map(at));
        }
    }

    #[test]
    fn a_table_wakes_early_only_if_it_is_full(steps in steps()) {
        const PLACES: usize = 3;
        let (queue, clock) = queue();
        let table = table::<2>();
        table.admit(leak([TableEntry::new()]));
        let sleepers = Recording::default();
        let wakers = wakers::<SLEEPERS>(&sleepers);
        let (mut now, mut model, mut early) = (100, Model::default(), 0);
        clock.advance_to(at(now), queue);
        for step in steps {
            match step {
                Step::Schedule(who, after) => {
                    let deadline = now.saturating_add_signed(after);
                    let is_full = model.0.len() == PLACES && !model.0.contains_key(&who);
                    // SAFETY: all calls are with this queue.
                    unsafe { table.schedule(queue, at(deadline), &wakers[who]) };
                    let woken = sleepers.take();
                    prop_assert_eq!(woken.len(), usize::from(is_full));
                    for who in woken {
                        prop_assert!(model.0.remove(&who).is_some(), "{} did not wait", who);
                        early += 1;
                    }
                    prop_assert_eq!(table.early_wakes(), early);
                    model.schedule(who, deadline);
                }
                Step::Clear(_) => {}
                Step::Advance(nanos) => {
                    now += nanos;
                    clock.advance_to(at(now), queue);
                }
            }
            let next = queue.turn();
            model.turned(&sleepers.take(), now);
            prop_assert_eq!(next, model.next().map(at));
        }
    }
}

/// Sleepers that ask again when they are woken early, as embassy's timers do.
#[test]
fn more_sleepers_than_entries_all_end_and_none_early() {
    const MANY: usize = 20;
    let (queue, clock) = queue();
    let table = table::<4>();
    let sleepers = Recording::default();
    let wakers = wakers::<MANY>(&sleepers);
    let deadline = |who: usize| at(1000 * (1 + (who as u64 * 7) % MANY as u64));
    let mut ended = Vec::new();
    let mut asking: Vec<usize> = (0..MANY).collect();
    for _ in 0..10_000 {
        for who in asking.drain(..) {
            if queue.now() >= deadline(who) {
                ended.push(who);
            } else {
                // SAFETY: all calls are with this queue.
                unsafe { table.schedule(queue, deadline(who), &wakers[who]) };
            }
        }
        queue.turn();
        asking = sleepers.take();
        // In small steps: the vCPU does not halt while the table is too small.
        clock.advance_to(at(queue.now().as_nanos() + 50), queue);
    }
    let mut in_order = ended.clone();
    in_order.sort_by_key(|&who| deadline(who));
    assert_eq!(ended, in_order);
    assert_eq!(ended.len(), MANY);
    assert!(table.early_wakes() > 0);
    assert_eq!(queue.turn(), None);
}

/// Timers that were dropped, which embassy does not report.
#[test]
fn stale_entries_are_evicted_once() {
    const PLACES: usize = 4;
    let (queue, _clock) = queue();
    let table = table::<PLACES>();
    let sleepers = Recording::default();
    let (old, new) = (wakers::<PLACES>(&sleepers), wakers::<PLACES>(&sleepers));
    let ask = |waker, nanos| {
        // SAFETY: all calls are with this queue.
        unsafe { table.schedule(queue, at(nanos), waker) };
    };
    old.iter().for_each(|waker| ask(waker, 1000));
    assert!(sleepers.take().is_empty());
    // Later than all others, so the deadline does not decide.
    new.iter().for_each(|waker| ask(waker, 2000));
    assert_eq!(sleepers.take(), [0, 1, 2, 3]);
    for _ in 0..10 {
        new.iter().for_each(|waker| ask(waker, 3000));
    }
    assert!(sleepers.take().is_empty());
    assert_eq!(table.early_wakes(), PLACES as u64);
}

/// A kept waker keeps its task's memory.
#[test]
fn a_table_keeps_no_waker_longer_than_needed() {
    struct Idle;
    impl Wake for Idle {
        fn wake(self: Arc<Self>) {}
    }
    let (queue, clock) = queue();
    let table = table::<1>();
    let ask = |idle: &Arc<Idle>, nanos| {
        // SAFETY: all calls are with this queue.
        unsafe { table.schedule(queue, at(nanos), &Waker::from(idle.clone())) };
    };
    let (first, second) = (Arc::new(Idle), Arc::new(Idle));
    ask(&first, 10);
    ask(&first, 5);
    ask(&first, 20);
    assert_eq!(Arc::strong_count(&first), 2);
    ask(&second, 30);
    assert_eq!(Arc::strong_count(&first), 1, "it was evicted");
    queue.turn();
    clock.advance_to(at(30), queue);
    queue.turn();
    assert_eq!(Arc::strong_count(&second), 1, "it was woken");
}

/// The compiler may give a waker's clone another copy of the vtable; then `Waker::will_wake`
/// returns `false`.
#[test]
fn a_waker_is_recognized_though_its_clone_has_another_vtable() {
    static CLONES: RawWakerVTable =
        RawWakerVTable::new(|data| RawWaker::new(data, &CLONES), |_| (), |_| (), |_| ());
    static FIRSTS: RawWakerVTable =
        RawWakerVTable::new(|data| RawWaker::new(data, &CLONES), |_| (), |_| (), |_| ());
    let (queue, _clock) = queue();
    let table = table::<2>();
    // SAFETY: the functions do nothing.
    let waker = |data| unsafe { Waker::new(std::ptr::without_provenance(data), &FIRSTS) };
    let (first, second) = (waker(1), waker(2));
    assert!(!first.will_wake(&first.clone()));
    for nanos in 10..20 {
        for waker in [&first, &second, &first.clone()] {
            // SAFETY: all calls are with this queue.
            unsafe { table.schedule(queue, at(nanos), waker) };
        }
    }
    assert_eq!(table.early_wakes(), 0);
    // SAFETY: the same.
    unsafe { table.schedule(queue, at(10), &waker(3)) };
    assert_eq!(table.early_wakes(), 1);
}

/// Their keys in the tree are the same.
#[test]
fn wakers_with_the_same_data_and_other_vtables_are_different() {
    static WAKES: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];
    fn count<const NUMBER: usize>(_data: *const ()) {
        WAKES[NUMBER].fetch_add(1, Ordering::SeqCst);
    }
    static COUNTS: [RawWakerVTable; 3] = [
        RawWakerVTable::new(
            |data| RawWaker::new(data, &COUNTS[0]),
            count::<0>,
            |_| (),
            |_| (),
        ),
        RawWakerVTable::new(
            |data| RawWaker::new(data, &COUNTS[1]),
            count::<1>,
            |_| (),
            |_| (),
        ),
        RawWakerVTable::new(
            |data| RawWaker::new(data, &COUNTS[2]),
            count::<2>,
            |_| (),
            |_| (),
        ),
    ];
    let (queue, clock) = queue();
    let table = table::<9>();
    for nanos in [30, 20, 10, 40] {
        for data in 1..4 {
            for (number, functions) in COUNTS.iter().enumerate() {
                // SAFETY: the functions ignore the data.
                let waker = unsafe { Waker::new(std::ptr::without_provenance(data), functions) };
                // SAFETY: all calls are with this queue.
                unsafe { table.schedule(queue, at(nanos + number as u64), &waker) };
            }
        }
    }
    assert_eq!(table.early_wakes(), 0);
    let mut woken = [0; 3];
    for (number, nanos) in [10, 11, 12].into_iter().enumerate() {
        queue.turn();
        clock.advance_to(at(nanos), queue);
        queue.turn();
        woken[number] = 3;
        assert_eq!(
            WAKES.each_ref().map(|wakes| wakes.load(Ordering::SeqCst)),
            woken
        );
    }
    assert_eq!(queue.turn(), None);
}
