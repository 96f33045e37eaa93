//! The ready set: one bit a task, and above each 64 words a word that says which of them to look at.
//!
//! A wake sets the task's bit and, if it was clear, the bits above it. A pass goes down from the root:
//! it clears a summary bit *before* it looks at the word below, and a task's bit *before* it visits the
//! task, so a wake that comes at any moment either is seen or sets the bits anew.
//!
//! Each word is looked at again after each visit, from the visited bit upwards: what was woken meanwhile
//! ahead of the pass is visited in it, and what lies behind, a task that woke itself among it, in the
//! next one. So a task has its second turn only after every task that was ready at its first.
//!
//! A waker's data pointer is the address of the task's word, which is aligned to 64 bytes, plus the
//! task's bit in the low six bits. The set is a static: no waker dangles.

mod levels;

use core::{marker::PhantomData, ptr};

use super::{capacity::Capacity, cpus::Cpus, place::Places};
use crate::sync::{
    atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
    const_new,
};

pub(super) use levels::{Leaf, Level, Summary, Visitor};

/// Bits in a word.
pub(crate) const BITS: u32 = u64::BITS;

/// A word of the ready set, and the way up from it.
#[repr(C, align(64))]
pub struct Node {
    word: AtomicU64,
    /// The node above, which [`ReadySet::link`] writes.
    parent: AtomicPtr<Node>,
    /// This node's bit in the one above.
    parent_mask: AtomicU64,
    /// How many nodes of its level lie before this one. Written with `parent`.
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

    /// Clears the lowest bit of `word`, which are bits of this node that are set. Returns it, and a mask of the
    /// bits above it.
    #[inline(always)]
    fn take_lowest<M: Cpus>(&self, word: u64) -> (u32, u64) {
        let bit = word.trailing_zeros();
        M::clear(&self.word, bit);
        (bit, made_now(!1 << bit))
    }

    /// The bits that are set; those that are set meanwhile among them.
    #[inline(always)]
    fn bits(&self) -> u64 {
        self.word.load(Ordering::Relaxed)
    }

    /// The first bit that is set, from the bit `from` on, which is below 64.
    fn first_from(&self, from: u32) -> Option<u32> {
        let word = self.word.load(Ordering::Relaxed) & (u64::MAX << from);
        (word != 0).then(|| word.trailing_zeros())
    }

    fn link(&self, number: u32, parent: &Self) {
        self.number.store(number, Ordering::Relaxed);
        let parent = ptr::from_ref(parent).cast_mut();
        self.parent.store(parent, Ordering::Relaxed);
        self.parent_mask
            .store(1 << (number % BITS), Ordering::Relaxed);
    }
}

/// The same, made here and not where it is used: left to itself, the compiler makes a mask after the visit,
/// and keeps the bit for that, at four more instructions a visit.
#[inline(always)]
fn made_now(mask: u64) -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        let mut mask = mask;
        // SAFETY: it does nothing.
        unsafe {
            core::arch::asm!("/* {0} */", inout(reg) mask, options(nomem, nostack, preserves_flags));
        }
        mask
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    mask
}

/// 64 tasks: their word, and whatever else there is of each.
#[repr(C, align(64))]
pub struct Block<P> {
    node: Node,
    pub(crate) places: P,
}

impl<P> Block<P> {
    const_new! {
        pub(crate) fn new(places: P) -> Self {
            Self { node: Node::new(), places }
        }
    }
}

/// One task of a ready set: what its wakers carry.
pub(crate) struct Place<P> {
    data: *const (),
    block: PhantomData<*const Block<P>>,
}

impl<P> Clone for Place<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Place<P> {}

impl<P: 'static> Place<P> {
    #[inline(always)]
    pub(crate) fn new(block: *const Block<P>, bit: u32) -> Self {
        Self {
            data: block.cast::<()>().wrapping_byte_add(bit as usize),
            block: PhantomData,
        }
    }

    /// The place that a waker's data pointer stands for.
    ///
    /// # Safety
    ///
    /// `data` is from [`data`](Self::data), of a place with the same `P`.
    #[inline(always)]
    pub(crate) unsafe fn from_data(data: *const ()) -> Self {
        Self {
            data,
            block: PhantomData,
        }
    }

    /// For a waker.
    #[inline(always)]
    pub(crate) fn data(self) -> *const () {
        self.data
    }

    #[inline(always)]
    pub(crate) fn bit(self) -> u32 {
        self.data.addr() as u32 % BITS
    }

    #[inline(always)]
    pub(crate) fn block(self) -> &'static Block<P> {
        let block = self.data.map_addr(|addr| addr & !(BITS as usize - 1));
        // SAFETY: blocks are aligned to 64 bytes, so this is the address of one, of a static set.
        unsafe { &*block.cast::<Block<P>>() }
    }

    /// Its number in the set.
    pub(crate) fn number(self) -> u32 {
        self.block().node.number.load(Ordering::Relaxed) * BITS + self.bit()
    }
}

/// Which tasks are ready.
pub(crate) struct ReadySet<C: Capacity, M: Cpus> {
    summaries: C::Summaries,
    blocks: C::Blocks,
    cpus: PhantomData<M>,
}

impl<C: Capacity, M: Cpus> ReadySet<C, M> {
    const_new! {
        /// No task is ready. All zero, so that it costs no room in an image.
        pub(crate) fn new() -> Self {
            Self {
                #[cfg(not(all(test, loom)))]
                summaries: C::SUMMARIES,
                #[cfg(not(all(test, loom)))]
                blocks: C::BLOCKS,
                #[cfg(all(test, loom))]
                summaries: C::summaries(),
                #[cfg(all(test, loom))]
                blocks: C::blocks(),
                cpus: PhantomData,
            }
        }
    }

    fn root(&self) -> &Node {
        C::Root::node(self.summaries.as_ref(), self.blocks.as_ref(), 0)
    }

    /// Whether no task is ready. One load.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.root().word.load(Ordering::Acquire) == 0
    }

    /// The place with that number.
    #[inline(always)]
    pub(crate) fn place(&'static self, number: u32) -> Place<Places> {
        let block = &self.blocks.as_ref()[(number / BITS) as usize];
        Place::new(block, number % BITS)
    }

    /// Makes all places reachable; to be called before a bit is first set. It may be called again.
    pub(crate) fn link(&'static self) -> &'static [Block<Places>] {
        C::Root::link(self.summaries.as_ref(), self.blocks.as_ref());
        self.blocks.as_ref()
    }

    /// A wake: sets the bit of a task that is [linked](Self::link), and those above it. In any context.
    /// Says whether the bit was clear.
    #[inline(always)]
    pub(crate) fn set(place: Place<Places>) -> bool {
        let mut node = &place.block().node;
        if !M::set(&node.word, place.data.addr() as u32) {
            return false;
        }
        for _ in 0..C::Root::SUMMARIES {
            let mask = node.parent_mask.load(Ordering::Relaxed);
            // SAFETY: `link` has written the address of a node of the same static set.
            node = unsafe { &*node.parent.load(Ordering::Relaxed) };
            M::raise(&node.word, mask);
        }
        true
    }

    /// Visits each task that is ready.
    #[inline(always)]
    pub(crate) fn pass(&'static self, visitor: &mut impl Visitor<Places>) {
        let word = self.root().bits();
        if word == 0 {
            return;
        }
        let _pass = visitor.begin();
        let (summaries, blocks) = (self.summaries.as_ref(), self.blocks.as_ref());
        C::Root::pass::<_, M>(summaries, blocks, 0, word, visitor);
    }

    /// Clears the bit of one task that is ready, and returns its place: the first from place number `from`
    /// on, or else the first of all.
    pub(crate) fn take(&'static self, from: u32) -> Option<Place<Places>> {
        let (summaries, blocks) = (self.summaries.as_ref(), self.blocks.as_ref());
        let take = |from| C::Root::take::<_, M>(summaries, blocks, 0, from);
        let number = take(from % C::TASKS).or_else(|| take(0))?;
        Some(self.place(number))
    }

    /// Clears the bit of a task that is visited out of turn.
    pub(crate) fn clear(place: Place<Places>) {
        M::clear(&place.block().node.word, place.bit());
    }
}
