//! A heap for guests that want one: the RAM that is free, in all its pieces.
//!
//! The allocator is TLSF (two-level segregated fit), by the crate `rlsf`: to allocate and to free take a
//! constant time, however many blocks there are and however they lie. It masks interrupts meanwhile, so
//! interrupt handlers may allocate too (NMIs must not). `cargo vm bench --counts` says how many
//! instructions the worst operation takes.
//!
//! `embedded-alloc` has the same allocator, but takes one piece of memory, and goes through all blocks to
//! tell how much is in use.

use core::{
    alloc::{GlobalAlloc, Layout},
    cell::RefCell,
    ops::Range,
    ptr::{NonNull, null_mut},
};

use critical_section::Mutex;
use rlsf::Tlsf;

/// Blocks of 32 bytes and more, up to 128 GiB, in 32 times 32 classes: what is given is at most a 32nd
/// larger than what was asked for.
type Blocks = Tlsf<'static, u32, u32, 32, 32>;

struct State {
    blocks: Blocks,
    /// Bytes that were asked for and not yet given back.
    used: usize,
    /// Bytes of all pieces.
    total: usize,
}

struct Heap(Mutex<RefCell<State>>);

#[global_allocator]
static HEAP: Heap = Heap(Mutex::new(RefCell::new(State {
    blocks: Blocks::new(),
    used: 0,
    total: 0,
})));

impl Heap {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        critical_section::with(|cs| work(&mut self.0.borrow_ref_mut(cs)))
    }
}

// SAFETY: the blocks of `Tlsf` are as large and as aligned as was asked for, and nobody else's until they
// are given back; it does not unwind.
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
            // SAFETY: the caller has the block from `alloc`, with this layout.
            unsafe { state.blocks.deallocate(block, layout.align()) };
            state.used -= layout.size();
        });
    }
}

/// Adds a piece of memory to the heap.
///
/// # Safety
///
/// The range must be mapped, writable and used by nothing else, from now on.
pub(crate) unsafe fn add(memory: Range<u64>) {
    let length = (memory.end - memory.start) as usize;
    let Some(start) = NonNull::new(memory.start as *mut u8) else {
        return;
    };
    let block = NonNull::slice_from_raw_parts(start, length);
    HEAP.with(|state| {
        // SAFETY: as the caller says. What is too small to be a block is left out.
        unsafe { state.blocks.insert_free_block_ptr(block) };
        state.total += length;
    });
}

/// Bytes of the heap in use: what was asked for, without what the allocator adds.
#[must_use]
pub fn used() -> usize {
    HEAP.with(|state| state.used)
}

/// Bytes of the heap not in use. Not all of it can be had: it need not be in one piece, and some of it is
/// the allocator's.
#[must_use]
pub fn free() -> usize {
    HEAP.with(|state| state.total - state.used)
}
