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

use core::{marker::PhantomData, mem, ptr};

use super::{capacity::Capacity, cpus::Cpus, place::Places};
use crate::sync::{
    atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
    const_new,
};

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

/// What is done in a pass.
pub trait Visitor<P> {
    /// A task that was ready, whose bit has been cleared: with its block's places, its bit, and what its wakers
    /// carry.
    fn visit(&mut self, places: &P, bit: u32, data: *const ());

    /// The pass goes on from one word to another.
    fn between(&mut self);
}

#[cfg(test)]
impl<P, V: FnMut(&P, u32, *const ()), B: FnMut()> Visitor<P> for (V, B) {
    fn visit(&mut self, places: &P, bit: u32, data: *const ()) {
        self.0(places, bit, data);
    }

    fn between(&mut self) {
        self.1();
    }
}

/// A level of the ready set, with those below it.
pub trait Level {
    /// How many levels there are above the blocks.
    const SUMMARIES: u32;
    /// How many tasks lie below each node.
    const TASKS: u32;

    /// Writes the ways up to this level from all nodes below.
    fn link<P>(summaries: &[Node], blocks: &[Block<P>]);

    /// How many nodes this level has.
    fn count<P>(blocks: &[Block<P>]) -> u32 {
        blocks.len() as u32 * BITS / Self::TASKS
    }

    /// The node of this level with that number.
    fn node<'a, P>(summaries: &'a [Node], blocks: &'a [Block<P>], number: u32) -> &'a Node;

    /// Visits each task whose bit is set below a node of this level, in order, once.
    fn pass<P, M: Cpus>(
        summaries: &[Node],
        blocks: &[Block<P>],
        number: u32,
        visitor: &mut impl Visitor<P>,
    );

    /// Takes one task whose bit is set below a node of this level: the first from the task number `from` on,
    /// counted below that node.
    fn take<P, M: Cpus>(
        summaries: &[Node],
        blocks: &[Block<P>],
        number: u32,
        from: u32,
    ) -> Option<u32>;
}

/// The blocks.
pub struct Leaf;

/// Words that have a bit for each node of the level below; the first of them is summary number `FIRST`.
pub struct Summary<const FIRST: usize, Below>(PhantomData<Below>);

impl Level for Leaf {
    const SUMMARIES: u32 = 0;
    const TASKS: u32 = BITS;

    fn link<P>(_summaries: &[Node], _blocks: &[Block<P>]) {}

    #[inline(always)]
    fn node<'a, P>(_summaries: &'a [Node], blocks: &'a [Block<P>], number: u32) -> &'a Node {
        &blocks[number as usize].node
    }

    #[inline(always)]
    fn pass<P, M: Cpus>(
        _summaries: &[Node],
        blocks: &[Block<P>],
        number: u32,
        visitor: &mut impl Visitor<P>,
    ) {
        let block = &blocks[number as usize];
        let data = ptr::from_ref(block).cast::<()>();
        let node = &block.node;
        let mut word = node.bits();
        while word != 0 {
            let (bit, above) = node.take_lowest::<M>(word);
            visitor.visit(&block.places, bit, data.wrapping_byte_add(bit as usize));
            word = node.bits() & above;
        }
    }

    fn take<P, M: Cpus>(
        _summaries: &[Node],
        blocks: &[Block<P>],
        number: u32,
        from: u32,
    ) -> Option<u32> {
        let node = &blocks[number as usize].node;
        let bit = node.first_from(from)?;
        M::clear(&node.word, bit);
        Some(number * BITS + bit)
    }
}

impl<const FIRST: usize, Below: Level> Level for Summary<FIRST, Below> {
    const SUMMARIES: u32 = Below::SUMMARIES + 1;
    const TASKS: u32 = Below::TASKS * BITS;

    fn link<P>(summaries: &[Node], blocks: &[Block<P>]) {
        Below::link(summaries, blocks);
        for number in 0..Below::count(blocks) {
            let parent = Self::node(summaries, blocks, number / BITS);
            Below::node(summaries, blocks, number).link(number, parent);
        }
    }

    #[inline(always)]
    fn node<'a, P>(summaries: &'a [Node], _blocks: &'a [Block<P>], number: u32) -> &'a Node {
        &summaries[FIRST + number as usize]
    }

    #[inline(always)]
    fn pass<P, M: Cpus>(
        summaries: &[Node],
        blocks: &[Block<P>],
        number: u32,
        visitor: &mut impl Visitor<P>,
    ) {
        let node = Self::node(summaries, blocks, number);
        let mut word = node.bits();
        if word == 0 {
            return;
        }
        loop {
            let (bit, above) = node.take_lowest::<M>(word);
            // A poll may unwind, on a host: then the tasks that are left below stay reachable.
            let restore = Restore::<M>(node, bit, PhantomData);
            Below::pass::<P, M>(summaries, blocks, number * BITS + bit, visitor);
            mem::forget(restore);
            word = node.bits() & above;
            if word == 0 {
                return;
            }
            visitor.between();
        }
    }

    fn take<P, M: Cpus>(
        summaries: &[Node],
        blocks: &[Block<P>],
        number: u32,
        mut from: u32,
    ) -> Option<u32> {
        let node = Self::node(summaries, blocks, number);
        while let Some(bit) = node.first_from(from / Below::TASKS) {
            if bit != from / Below::TASKS {
                from = bit * Below::TASKS;
            }
            // As in a pass: cleared before the look below, and set again if there is more.
            M::clear(&node.word, bit);
            let child = number * BITS + bit;
            let task = Below::take::<P, M>(summaries, blocks, child, from % Below::TASKS);
            let below = Below::node(summaries, blocks, child);
            if below.word.load(Ordering::Relaxed) != 0 {
                M::set(&node.word, bit);
            }
            if task.is_some() || bit + 1 == BITS {
                return task;
            }
            from = (bit + 1) * Below::TASKS;
        }
        None
    }
}

/// Sets a summary bit again if the pass below it did not come to its end.
struct Restore<'a, M: Cpus>(&'a Node, u32, PhantomData<M>);

impl<M: Cpus> Drop for Restore<'_, M> {
    fn drop(&mut self) {
        M::set(&self.0.word, self.1);
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
        C::Root::pass::<_, M>(self.summaries.as_ref(), self.blocks.as_ref(), 0, visitor);
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
