//! A reference to a task by its slot: one word, which is also what the task's wakers carry.

use super::ready::node::BITS;

/// A slot of an executor, and the task in it.
///
/// It is the address of the slot's [`Block`](super::slot::Block), which is aligned to 64 bytes,
/// plus the slot's number in the block in the low six bits. Executors are statics, so it never
/// dangles.
#[derive(Clone, Copy)]
pub(crate) struct TaskRef(*const ());

impl TaskRef {
    /// The slot with the number `bit` of the block at `block`.
    #[inline(always)]
    pub(super) fn new(block: *const (), bit: u32) -> Self {
        Self(block.wrapping_byte_add(bit as usize))
    }

    /// The slot whose wakers carry `data`.
    ///
    /// # Safety
    ///
    /// `data` is from [`data`](Self::data).
    #[inline(always)]
    pub(crate) unsafe fn from_data(data: *const ()) -> Self {
        Self(data)
    }

    /// The data pointer of the task's wakers.
    #[inline(always)]
    pub(crate) fn data(self) -> *const () {
        self.0
    }

    /// The slot's number in its block, which is also its bit in the block's word.
    #[inline(always)]
    pub(crate) fn bit(self) -> u32 {
        self.0.addr() as u32 % BITS
    }

    /// The address of the slot's block.
    #[inline(always)]
    pub(super) fn block_address(self) -> *const () {
        self.0.map_addr(|addr| addr & !(BITS as usize - 1))
    }
}
