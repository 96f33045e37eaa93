//! A word of the ready set, and its link to the word above.

use core::ptr;

use crate::{
    executor::cpus::Cpus,
    sync::{
        atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
        const_new,
    },
};

/// The number of bits in a word.
pub(crate) const BITS: u32 = u64::BITS;

/// A word with a bit for each task of a block, or for each node of the level below.
#[derive(Debug)]
#[repr(C)]
pub struct Node {
    pub(super) word: AtomicU64,
    /// The node above, which [`link`](Self::link) writes.
    pub(super) parent: AtomicPtr<Node>,
    /// This node's bit in the one above.
    pub(super) parent_mask: AtomicU64,
    /// This node's number in its level. Written with `parent`.
    number: AtomicU32,
}

impl Node {
    const_new! {
        pub(crate) fn new() -> Self {
            Self {
                word: AtomicU64::new(0),
                parent: AtomicPtr::new(ptr::null_mut()),
                parent_mask: AtomicU64::new(0),
                number: AtomicU32::new(0),
            }
        }
    }

    /// Clears the lowest bit of `word`, whose bits are set in this node. Returns that bit, and a
    /// mask of the bits above it.
    ///
    /// A pass clears each bit here before it looks at what the bit stands for, a task or a word
    /// below. So a wake that comes later sets the bit again.
    #[inline(always)]
    pub(crate) fn take_lowest<M: Cpus>(&self, word: u64) -> (u32, u64) {
        let bit = word.trailing_zeros();
        debug_assert!(self.bits() & 1 << bit != 0, "only a pass clears bits");
        M::clear(&self.word, bit);
        (bit, computed_here(!1 << bit))
    }

    /// The bits that are set now.
    #[inline(always)]
    pub(super) fn bits(&self) -> u64 {
        self.word.load(Ordering::Relaxed)
    }

    /// The first bit that is set, from bit `from` on, which is below 64.
    pub(super) fn first_from(&self, from: u32) -> Option<u32> {
        let word = self.word.load(Ordering::Relaxed) & (u64::MAX << from);
        (word != 0).then(|| word.trailing_zeros())
    }

    pub(super) fn link(&self, number: u32, parent: &Self) {
        self.number.store(number, Ordering::Relaxed);
        let parent = ptr::from_ref(parent).cast_mut();
        self.parent.store(parent, Ordering::Relaxed);
        self.parent_mask
            .store(1 << (number % BITS), Ordering::Relaxed);
    }

    /// This node's number in its level; 0 until the set is linked.
    pub(crate) fn number(&self) -> u32 {
        self.number.load(Ordering::Relaxed)
    }
}

/// Returns `mask`, and makes the compiler compute it before the visit. Otherwise it keeps the bit
/// and computes the mask after the visit, which takes four more instructions for each visit.
#[inline(always)]
fn computed_here(mask: u64) -> u64 {
    #[cfg(all(target_arch = "x86_64", not(any(miri, sanitized))))]
    {
        let mut mask = mask;
        // SAFETY: this contains no instruction, so it changes nothing.
        unsafe {
            core::arch::asm!("/* {0} */", inout(reg) mask, options(nomem, nostack, preserves_flags));
        }
        mask
    }
    #[cfg(not(all(target_arch = "x86_64", not(any(miri, sanitized)))))]
    mask
}
