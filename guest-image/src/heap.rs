//! The heap: a global allocator over all free RAM.
//!
//! The allocator is TLSF (two-level segregated fit), from the crate `rlsf`. Allocating and freeing
//! take constant time, for any number of blocks. Interrupts are masked during both, so interrupt
//! handlers may allocate too (NMI handlers must not). `cargo vm bench --counts` reports how many
//! instructions the worst operation takes.
//!
//! `embedded-alloc` has the same allocator, but for a single piece of memory, and visits all blocks
//! to find out how much is in use.

use core::{
    alloc::{GlobalAlloc, Layout},
    cell::RefCell,
    ops::Range,
    ptr::{NonNull, null_mut},
};

use critical_section::Mutex;
use rlsf::Tlsf;

/// Blocks from 32 bytes to 128 GiB, in 32 times 32 size classes. A block is at most a 32nd larger
/// than requested.
type Blocks = Tlsf<'static, u32, u32, 32, 32>;

struct HeapState {
    blocks: Blocks,
    /// Bytes that are allocated, as requested.
    used: usize,
    /// Bytes of all pieces of memory.
    total: usize,
}

struct Heap(Mutex<RefCell<HeapState>>);

#[global_allocator]
static HEAP: Heap = Heap(Mutex::new(RefCell::new(HeapState {
    blocks: Blocks::new(),
    used: 0,
    total: 0,
})));

impl Heap {
    fn with<T>(&self, work: impl FnOnce(&mut HeapState) -> T) -> T {
        critical_section::with(|cs| work(&mut self.0.borrow_ref_mut(cs)))
    }
}

// SAFETY: the blocks of `Tlsf` have the requested size and alignment, and are not handed out again
// until they are freed. It does not unwind.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = self.with(|state| {
            let block = state.blocks.allocate(layout)?;
            state.used += layout.size();
            Some(block)
        });
        block.map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(block) = NonNull::new(block) else {
            return;
        };
        self.with(|state| {
            // SAFETY: the block is from `alloc`, with this layout.
            unsafe { state.blocks.deallocate(block, layout.align()) };
            state.used -= layout.size();
        });
    }
}

/// Adds a piece of memory to the heap.
///
/// # Safety
///
/// The range must be mapped and writable, and from now on nothing else may use it.
pub(crate) unsafe fn add(memory: Range<u64>) {
    let length = (memory.end - memory.start) as usize;
    let Some(start) = NonNull::new(memory.start as *mut u8) else {
        return;
    };
    let block = NonNull::slice_from_raw_parts(start, length);
    HEAP.with(|state| {
        // SAFETY: by this function's contract. Memory too small for a block is ignored.
        unsafe { state.blocks.insert_free_block_ptr(block) };
        state.total += length;
    });
}

/// The number of bytes that are allocated, without the allocator's own.
#[must_use]
pub fn used() -> usize {
    HEAP.with(|state| state.used)
}

/// The number of bytes that are not allocated. Not all of them can be allocated: some are the
/// allocator's, and they need not be in one piece.
#[must_use]
pub fn free() -> usize {
    HEAP.with(|state| state.total - state.used)
}
