//! The levels of the ready set, and the ways down from each: a pass, and a search for one task.

use core::{marker::PhantomData, mem, ptr};

use super::{BITS, Block, Node};
use crate::{executor::cpus::Cpus, sync::atomic::Ordering};

/// What is done in a pass.
pub trait Visitor<P> {
    /// What is kept while there is a pass.
    type Pass;

    /// A pass begins, in which a task is ready.
    fn begin(&self) -> Self::Pass;

    /// A task that was ready, whose bit has been cleared: with its block's places, its bit, and what its wakers
    /// carry.
    fn visit(&mut self, places: &P, bit: u32, data: *const ());

    /// The pass goes on from one word to another. Returns whether tasks may have been woken.
    fn between(&mut self) -> bool;
}

#[cfg(test)]
impl<P, V: FnMut(&P, u32, *const ()), B: FnMut()> Visitor<P> for (V, B) {
    type Pass = ();

    fn begin(&self) {}

    fn visit(&mut self, places: &P, bit: u32, data: *const ()) {
        self.0(places, bit, data);
    }

    fn between(&mut self) -> bool {
        self.1();
        true
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

    /// Visits each task whose bit is set below a node of this level, in order, once. `word` are the bits of that
    /// node, of which one is set at least.
    fn pass<P, M: Cpus>(
        summaries: &[Node],
        blocks: &[Block<P>],
        number: u32,
        word: u64,
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
        mut word: u64,
        visitor: &mut impl Visitor<P>,
    ) {
        let block = &blocks[number as usize];
        let data = ptr::from_ref(block).cast::<()>();
        loop {
            let (bit, above) = block.node.take_lowest::<M>(word);
            visitor.visit(&block.places, bit, data.wrapping_byte_add(bit as usize));
            word = block.node.bits() & above;
            if word == 0 {
                return;
            }
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
        mut word: u64,
        visitor: &mut impl Visitor<P>,
    ) {
        let node = Self::node(summaries, blocks, number);
        loop {
            let (bit, above) = node.take_lowest::<M>(word);
            // A poll may unwind, on a host: then the tasks that are left below stay reachable.
            let restore = Restore::<M>(node, bit, PhantomData);
            let child = number * BITS + bit;
            let below = Below::node(summaries, blocks, child).bits();
            if below != 0 {
                Below::pass::<P, M>(summaries, blocks, child, below, visitor);
            }
            mem::forget(restore);
            word = node.bits() & above;
            if word == 0 {
                return;
            }
            if visitor.between() {
                word = node.bits() & above;
                // Never so: only the pass clears these bits. But the compiler is to know it.
                if word == 0 {
                    return;
                }
            }
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
