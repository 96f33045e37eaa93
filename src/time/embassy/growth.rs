//! A table that is too small grows, on the heap.
//!
//! Most of what fills a table may be stale: embassy's timers do not say when they are dropped, so
//! the waker of a time limit that was not reached keeps its entry until then. So a full table first
//! has everybody wake who is in it. Who still waits asks again; what is stale is gone. Only a table
//! that is full again soon is too small.

use core::sync::atomic::{AtomicU32, Ordering};

use std_alloc::vec::Vec;

use super::table::{TableEntry, WakerTable};
use crate::time::TimerQueue;

/// Within so many looks at the table all who were woken have asked again, also where a task has so
/// many futures that it goes through them in several polls.
const LOOKS: u32 = 32;

/// How a table grows. It is for the main line of the runner: the allocator may take its time, and
/// may not be for interrupt handlers.
pub(super) struct Growth {
    /// For so many looks more, a full table is one that is too small.
    looks: AtomicU32,
}

impl Growth {
    pub(super) const fn new() -> Self {
        Self {
            looks: AtomicU32::new(0),
        }
    }

    /// Whether the next look counts, also where no entry gave way.
    #[inline(always)]
    pub(super) fn counts_looks(&self) -> bool {
        self.looks.load(Ordering::Relaxed) > 0
    }

    /// A look at the table, in which an entry gave way since the last one, or none did. Returns
    /// whether there will be room now. `allocate` makes as many entries as it is asked for, or
    /// none.
    ///
    /// # Safety
    ///
    /// All calls for one table, here and of [`WakerTable::schedule`], are with the same queue.
    pub(super) unsafe fn look(
        &self,
        is_overfull: bool,
        table: &'static WakerTable,
        queue: &TimerQueue,
        allocate: impl FnOnce(usize) -> Option<&'static [TableEntry]>,
    ) -> bool {
        let looks = self.looks.load(Ordering::Relaxed);
        if !is_overfull {
            self.looks.store(looks.saturating_sub(1), Ordering::Relaxed);
            return true;
        }
        if looks == 0 {
            self.looks.store(LOOKS, Ordering::Relaxed);
            // SAFETY: as the caller says.
            unsafe { table.let_all_go(queue) };
        } else {
            self.looks.store(looks - 1, Ordering::Relaxed);
            // As many again: each doubling is paid for by those who came since the last one.
            let Some(more) = allocate(table.entries()) else {
                return false;
            };
            table.admit(more);
        }
        // What gave way meanwhile, to an interrupt handler's waker, had no room yet.
        table.look();
        true
    }
}

/// So many entries on the heap, for good; `None` if there is not as much memory.
pub(super) fn allocate(number: usize) -> Option<&'static [TableEntry]> {
    let mut entries = Vec::new();
    entries.try_reserve_exact(number).ok()?;
    entries.extend((0..number).map(|_| TableEntry::new()));
    Some(entries.leak())
}
