//! A heap for guests that want one: the RAM behind the image.
//!
//! The allocator is `embedded-alloc`'s linked list, first fit. It masks interrupts while it works, so
//! interrupt handlers may allocate too (NMIs must not).

use core::ops::Range;

use embedded_alloc::LlffHeap;

#[global_allocator]
static HEAP: LlffHeap = LlffHeap::empty();

/// Gives the heap its memory.
///
/// # Safety
///
/// The range must be mapped, writable and used by nothing else; to be called once.
pub(crate) unsafe fn init(memory: Range<u64>) {
    // SAFETY: as the caller says.
    unsafe { HEAP.init(memory.start as usize, (memory.end - memory.start) as usize) };
}

/// Bytes of the heap in use.
#[must_use]
pub fn used() -> usize {
    HEAP.used()
}

/// Bytes of the heap not in use; not all of it need be in one piece.
#[must_use]
pub fn free() -> usize {
    HEAP.free()
}
