//! Growth of a full table, on the heap.
//!
//! Most entries of a full table may be stale: embassy's timers do not report when they are dropped,
//! so the waker of a time limit that was not reached keeps its entry until then. So a full table
//! first wakes every waker in it. Timers that still wait ask again; stale entries are free. Only a
//! table that is soon full again is too small.

use core::sync::atomic::{AtomicU32, Ordering};

use std_alloc::vec::Vec;

use super::table::{TableEntry, WakerTable};
use crate::time::TimerQueue;

/// The number of looks at the table within which all woken wakers have asked again, even if a task
/// has so many futures that it needs several polls for them.
const LOOKS: u32 = 32;

/// The state of a table's growth. For the run loop only: the allocator may be slow, and may not be
/// usable in interrupt handlers.
pub(super) struct Growth {
    /// For this number of looks, a full table counts as too small.
    looks: AtomicU32,
}

impl Growth {
    pub(super) const fn new() -> Self {
        Self {
            looks: AtomicU32::new(0),
        }
    }

    /// Whether the next look counts, also if no entry was evicted.
    #[inline(always)]
    pub(super) fn counts_looks(&self) -> bool {
        self.looks.load(Ordering::Relaxed) > 0
    }

    /// Looks at the table, in which an entry was evicted since the last look (`is_overfull`) or
    /// not. Returns whether there is room now. `allocate` makes the requested number of entries, or
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
            // SAFETY: as the caller promises.
            unsafe { table.evict_all(queue) };
        } else {
            self.looks.store(looks - 1, Ordering::Relaxed);
            // Doubles the table, so that the cost per entry is constant.
            let Some(more) = allocate(table.entries()) else {
                return false;
            };
            table.admit(more);
            #[cfg(feature = "log")]
            log::info!(
                "embassy timers: the table has {} entries now",
                table.entries()
            );
        }
        // An eviction meanwhile, by an interrupt handler's waker, happened before there was room.
        table.look();
        true
    }
}

/// Allocates entries on the heap, permanently; `None` if there is not enough memory.
pub(super) fn allocate(number: usize) -> Option<&'static [TableEntry]> {
    let mut entries = Vec::new();
    entries.try_reserve_exact(number).ok()?;
    entries.extend((0..number).map(|_| TableEntry::new()));
    Some(entries.leak())
}
