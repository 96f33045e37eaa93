//! The ready set: one bit for each task, and above each 64 words a summary word that tells which of
//! them have bits.
//!
//! A wake sets the task's bit and the bits above it (with `Shared`, if the task's bit was clear). A
//! pass goes down from the root: it clears a summary bit *before* it looks at the word below, and a
//! task's bit *before* it visits the task. So a wake at any moment is either seen by the pass, or
//! sets the bits again.
//!
//! After each visit a pass reads the word again, from the visited bit upwards. A task that was
//! woken meanwhile ahead of the pass is visited in this pass; one that was woken behind it, such as
//! a task that woke itself, in the next. So a task is visited again only after every other task
//! that was ready at its first visit.

pub(super) mod levels;
pub(crate) mod node;

use core::marker::PhantomData;

use super::{
    capacity::{Capacity, sealed::Initial},
    cpus::Cpus,
    slot::Block,
    task_ref::TaskRef,
};
use crate::sync::{atomic::Ordering, const_new};
use levels::{Level, Visitor};
use node::{BITS, Node};

/// The set of tasks that are ready.
pub(crate) struct ReadySet<C: Capacity, M: Cpus> {
    summaries: C::Summaries,
    blocks: C::Blocks,
    cpus: PhantomData<M>,
}

impl<C: Capacity, M: Cpus> ReadySet<C, M> {
    const_new! {
        /// Creates a set in which no task is ready. It is all zero, and so takes no room in an
        /// image.
        pub(crate) fn new() -> Self {
            Self {
                #[cfg(not(all(test, loom)))]
                summaries: C::Summaries::INITIAL,
                #[cfg(not(all(test, loom)))]
                blocks: C::Blocks::INITIAL,
                #[cfg(all(test, loom))]
                summaries: C::Summaries::initial(),
                #[cfg(all(test, loom))]
                blocks: C::Blocks::initial(),
                cpus: PhantomData,
            }
        }
    }

    fn root(&self) -> &Node {
        C::Root::node(self.summaries.as_ref(), self.blocks.as_ref(), 0)
    }

    /// Whether no task is ready. This is one load.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.root().word.load(Ordering::Acquire) == 0
    }

    /// The slot with that number.
    #[inline(always)]
    pub(crate) fn slot(&'static self, number: u32) -> TaskRef {
        let block: *const Block = &self.blocks.as_ref()[(number / BITS) as usize];
        TaskRef::new(block.cast(), number % BITS)
    }

    /// The slot whose wakers carry `data`, if it is one of this set's.
    pub(crate) fn slot_of(&'static self, data: *const ()) -> Option<TaskRef> {
        let blocks = self.blocks.as_ref();
        let offset = data.addr().checked_sub(blocks.as_ptr().addr())?;
        let (block, bit) = (offset / size_of::<Block>(), offset % size_of::<Block>());
        let is_slot = block < blocks.len() && bit < BITS as usize;
        is_slot.then(|| TaskRef::new((&raw const blocks[block]).cast(), bit as u32))
    }

    /// Links each word to its summary word. Must be called before a bit is first set; may be called
    /// again.
    pub(crate) fn link(&'static self) -> &'static [Block] {
        C::Root::link(self.summaries.as_ref(), self.blocks.as_ref());
        self.blocks.as_ref()
    }

    /// A wake: sets the bit of a task of a [linked](Self::link) set, and the summary bits above it.
    /// May be called in any context. Returns whether the bit was clear, or, with
    /// [`SingleVcpu`](super::SingleVcpu), always `true`.
    #[inline(always)]
    pub(crate) fn set(task: TaskRef) -> bool {
        let mut node = &task.block().node;
        if !M::set(&node.word, task.data().addr() as u32) {
            return false;
        }
        for _ in 0..C::Root::SUMMARIES {
            let mask = node.parent_mask.load(Ordering::Relaxed);
            // SAFETY: `link` stored the address of a node of the same static set.
            node = unsafe { &*node.parent.load(Ordering::Relaxed) };
            M::raise(&node.word, mask);
        }
        true
    }

    /// Visits each task that is ready.
    #[inline(always)]
    pub(crate) fn pass(&'static self, visitor: &mut impl Visitor) {
        let word = self.root().bits();
        if word == 0 {
            return;
        }
        let _pass = visitor.begin();
        let (summaries, blocks) = (self.summaries.as_ref(), self.blocks.as_ref());
        C::Root::pass::<M>(summaries, blocks, 0, word, visitor);
    }

    /// Clears the bit of one ready task and returns that task: the first one from slot number
    /// `from` on, or else the first of all.
    pub(crate) fn take(&'static self, from: u32) -> Option<TaskRef> {
        let (summaries, blocks) = (self.summaries.as_ref(), self.blocks.as_ref());
        let take = |from| C::Root::take::<M>(summaries, blocks, 0, from);
        let number = take(from % C::TASKS).or_else(|| take(0))?;
        Some(self.slot(number))
    }

    /// Clears the bit of a task that is about to be visited out of turn.
    pub(crate) fn clear(task: TaskRef) {
        M::clear(&task.block().node.word, task.bit());
    }
}
