//! Growth of the table: when, by how much, in which context, and without memory.

use std::{cell::Cell, task::Waker, vec::Vec};

use super::{no_section_is_entered, table};
use crate::time::{
    Instant, TimerQueue,
    embassy::{
        growth::{Growth, allocate},
        table::{TableEntry, WakerTable},
    },
    testing::{Recording, at, queue},
};

/// A growing table, and what was allocated for it.
struct Growing {
    queue: &'static TimerQueue,
    table: &'static WakerTable,
    growth: Growth,
    allocated: Cell<usize>,
    /// Whether allocations fail.
    fails: Cell<bool>,
}

impl Growing {
    fn new(queue: &'static TimerQueue, table: &'static WakerTable) -> Self {
        Self {
            queue,
            table,
            growth: Growth::new(),
            allocated: Cell::new(0),
            fails: Cell::new(false),
        }
    }

    fn ask(&self, waker: &Waker, deadline: Instant) {
        let before = self.allocated.get();
        // SAFETY: all calls are with this queue.
        unsafe { self.table.schedule(self.queue, deadline, waker) };
        assert_eq!(
            self.allocated.get(),
            before,
            "`schedule` may run in an interrupt handler"
        );
    }

    /// Looks as the loop does after a pass. Returns whether there is room now.
    fn look(&self) -> bool {
        let is_overfull = self.table.look();
        let allocate = |number| {
            no_section_is_entered();
            let entries = if self.fails.get() {
                None
            } else {
                allocate(number)
            };
            self.allocated
                .set(self.allocated.get() + entries.map_or(0, <[TableEntry]>::len));
            entries
        };
        // SAFETY: the same.
        unsafe {
            self.growth
                .look(is_overfull, self.table, self.queue, allocate)
        }
    }
}

/// Makes each sleeper ask again when it is woken, until none is woken. Returns the number of calls.
fn all_who_wait_ask<const WAKERS: usize>(growing: &Growing, sleepers: &Recording) -> usize {
    let wakers = super::entries::wakers::<WAKERS>(sleepers);
    let mut asking: Vec<usize> = (0..WAKERS).collect();
    let mut asked = 0;
    while !asking.is_empty() {
        for who in asking {
            growing.ask(&wakers[who], at(1000));
            asked += 1;
        }
        assert!(growing.look());
        asking = sleepers.take();
    }
    asked
}

#[test]
fn a_table_that_is_too_small_doubles_until_all_have_room() {
    const WAKERS: usize = 50;
    let (queue, clock) = queue();
    let growing = Growing::new(queue, table::<4>());
    let sleepers = Recording::default();
    let asked = all_who_wait_ask::<WAKERS>(&growing, &sleepers);
    assert_eq!(growing.table.entries(), 64);
    assert!(asked <= 7 * WAKERS, "{asked}");
    assert_eq!(growing.table.early_wakes() as usize, asked - WAKERS);
    assert!(growing.table.most() >= WAKERS);
    // All are woken at their deadline. The next time there is room for all.
    queue.turn();
    clock.advance_to(at(1000), queue);
    queue.turn();
    let mut woken = sleepers.take();
    woken.sort_unstable();
    assert_eq!(woken, Vec::from_iter(0..WAKERS));
    assert_eq!(all_who_wait_ask::<WAKERS>(&growing, &sleepers), WAKERS);
    assert_eq!(growing.table.entries(), 64);
}

/// Wakers of time limits that were not reached are stale.
#[test]
fn stale_wakers_do_not_make_a_table_grow() {
    const LIVE: usize = 3;
    const PASSES: usize = if cfg!(miri) { 200 } else { 5000 };
    let (queue, _clock) = queue();
    let growing = Growing::new(queue, table::<64>());
    let sleepers = Recording::default();
    let live = super::entries::wakers::<LIVE>(&sleepers);
    live.iter().for_each(|waker| growing.ask(waker, at(2000)));
    for _ in 0..PASSES {
        let stale = Recording::default();
        growing.ask(&stale.waker(0), at(1000));
        assert!(growing.look());
        for who in sleepers.take() {
            growing.ask(&live[who], at(2000));
        }
    }
    assert_eq!(growing.allocated.get(), 0);
    assert!(growing.table.most() <= 65, "no more than exist at once");
    let for_each = growing.table.early_wakes() as f64 / PASSES as f64;
    assert!(
        for_each < 1.1,
        "each has one spurious wake, and {LIVE} have a few more: {for_each}"
    );
}

/// A full table grows if it was full within the 32 looks before, and no look is needed after them.
#[test]
fn looks_count_for_as_long_as_a_full_table_may_be_too_small() {
    let (queue, _clock) = queue();
    let growing = Growing::new(queue, table::<1>());
    let sleepers = Recording::default();
    let wakers = super::entries::wakers::<2>(&sleepers);
    let fill = || wakers.iter().for_each(|waker| growing.ask(waker, at(1000)));
    assert!(!growing.table.is_overfull() && !growing.growth.counts_looks());
    for round in 0..2 {
        fill();
        assert!(growing.table.is_overfull() && growing.look());
        for look in 0..32 {
            assert!(growing.growth.counts_looks(), "{look} in round {round}");
            assert!(!growing.table.is_overfull() && growing.look());
        }
        assert!(!growing.growth.counts_looks());
    }
    assert_eq!(growing.allocated.get(), 0);
    // At the last of these looks.
    fill();
    for _ in 0..32 {
        assert!(growing.look());
    }
    fill();
    assert!(growing.look());
    assert_eq!(growing.allocated.get(), 1);
    assert!(!growing.growth.counts_looks());
}

#[test]
fn without_memory_entries_are_evicted_in_turn_and_the_loop_pauses() {
    let (queue, _clock) = queue();
    let growing = Growing::new(queue, table::<2>());
    let sleepers = Recording::default();
    let wakers = super::entries::wakers::<3>(&sleepers);
    growing.fails.set(true);
    let mut asking = Vec::from_iter(0..3);
    let mut pauses = 0;
    for _ in 0..100 {
        asking
            .drain(..)
            .for_each(|who| growing.ask(&wakers[who], at(1000)));
        pauses += usize::from(!growing.look());
        asking = sleepers.take();
        assert!(!asking.is_empty(), "there is no room for all");
    }
    assert!(
        pauses > 90,
        "a pause each time but the few when all were woken: {pauses}"
    );
    // Once there is memory, it is used.
    growing.fails.set(false);
    for _ in 0..5 {
        asking
            .drain(..)
            .for_each(|who| growing.ask(&wakers[who], at(1000)));
        assert!(growing.look());
        asking = sleepers.take();
    }
    assert!(asking.is_empty(), "{asking:?}");
    assert_eq!(growing.table.entries(), 4);
}

/// More entries than fit into any address space.
#[test]
fn an_impossible_allocation_does_not_end_the_program() {
    assert!(allocate(usize::MAX / 2).is_none());
    // Under Miri, too large an allocation ends the process.
    assert!(cfg!(miri) || allocate(isize::MAX as usize / size_of::<TableEntry>()).is_none());
}

/// The size in the documentation.
#[test]
fn an_entry_takes_some_160_bytes() {
    assert!(
        (144..=168).contains(&size_of::<TableEntry>()),
        "{}",
        size_of::<TableEntry>()
    );
}
