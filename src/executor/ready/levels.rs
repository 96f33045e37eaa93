//! The levels of the ready set, and what goes down from each: a pass, and a search for one task.

#![allow(
    unreachable_pub,
    reason = "for Rust 1.94, which does not see that `Capacity` reaches these traits"
)]

use core::{marker::PhantomData, mem, ptr};

use super::node::{BITS, Node};
use crate::{
    executor::{cpus::Cpus, slot::Block},
    sync::atomic::Ordering,
};

/// What a pass does with the tasks that are ready.
pub trait Visitor {
    /// A guard that lives as long as the pass.
    type Pass;

    /// Called when a pass begins, unless no task is ready.
    fn begin(&self) -> Self::Pass;

    /// Visits a task that was ready, and whose bit was cleared. `data` is its wakers' data pointer.
    fn visit(&mut self, block: &Block, bit: u32, data: *const ());

    /// Called when the pass goes on from one word to another. Returns whether this may have woken
    /// tasks.
    fn between(&mut self) -> bool;
}

#[cfg(test)]
impl<V: FnMut(&Block, u32, *const ()), B: FnMut()> Visitor for (V, B) {
    type Pass = ();

    fn begin(&self) {}

    fn visit(&mut self, block: &Block, bit: u32, data: *const ()) {
        self.0(block, bit, data);
    }

    fn between(&mut self) -> bool {
        self.1();
        true
    }
}

/// A level of the ready set, with the levels below it.
pub trait Level {
    /// The number of levels above the blocks.
    const SUMMARIES: u32;
    /// The number of tasks below each node of this level.
    const TASKS: u32;

    /// Links all nodes below this level to the nodes above them.
    fn link(summaries: &[Node], blocks: &[Block]);

    /// The number of nodes of this level.
    fn count(blocks: &[Block]) -> u32 {
        blocks.len() as u32 * BITS / Self::TASKS
    }

    /// The node of this level with that number.
    fn node<'a>(summaries: &'a [Node], blocks: &'a [Block], number: u32) -> &'a Node;

    /// Visits each task whose bit is set below a node of this level, in order, once. `word` is that
    /// node's word, and not 0.
    fn pass<M: Cpus>(
        summaries: &[Node],
        blocks: &[Block],
        number: u32,
        word: u64,
        visitor: &mut impl Visitor,
    );

    /// Clears the bit of one task below a node of this level, and returns its number: the first
    /// from `from` on. Numbers are counted from the node's first task.
    fn take<M: Cpus>(summaries: &[Node], blocks: &[Block], number: u32, from: u32) -> Option<u32>;
}

/// The lowest level: the blocks of slots.
#[derive(Debug)]
pub struct Leaf;

/// A level of summary words, with a bit for each node of the level below. Its first word is summary
/// number `FIRST`.
#[derive(Debug)]
pub struct Summary<const FIRST: usize, Below>(PhantomData<Below>);

impl Level for Leaf {
    const SUMMARIES: u32 = 0;
    const TASKS: u32 = BITS;

    fn link(_summaries: &[Node], _blocks: &[Block]) {}

    #[inline(always)]
    fn node<'a>(_summaries: &'a [Node], blocks: &'a [Block], number: u32) -> &'a Node {
        &blocks[number as usize].node
    }

    #[inline(always)]
    fn pass<M: Cpus>(
        _summaries: &[Node],
        blocks: &[Block],
        number: u32,
        mut word: u64,
        visitor: &mut impl Visitor,
    ) {
        let block = &blocks[number as usize];
        let data = ptr::from_ref(block).cast::<()>();
        loop {
            let (bit, above) = block.node.take_lowest::<M>(word);
            visitor.visit(block, bit, data.wrapping_byte_add(bit as usize));
            word = block.node.bits() & above;
            if word == 0 {
                return;
            }
        }
    }

    fn take<M: Cpus>(_summaries: &[Node], blocks: &[Block], number: u32, from: u32) -> Option<u32> {
        let node = &blocks[number as usize].node;
        let bit = node.first_from(from)?;
        M::clear(&node.word, bit);
        Some(number * BITS + bit)
    }
}

impl<const FIRST: usize, Below: Level> Level for Summary<FIRST, Below> {
    const SUMMARIES: u32 = Below::SUMMARIES + 1;
    const TASKS: u32 = Below::TASKS * BITS;

    fn link(summaries: &[Node], blocks: &[Block]) {
        Below::link(summaries, blocks);
        for number in 0..Below::count(blocks) {
            let parent = Self::node(summaries, blocks, number / BITS);
            Below::node(summaries, blocks, number).link(number, parent);
        }
    }

    #[inline(always)]
    fn node<'a>(summaries: &'a [Node], _blocks: &'a [Block], number: u32) -> &'a Node {
        &summaries[FIRST + number as usize]
    }

    #[inline(always)]
    fn pass<M: Cpus>(
        summaries: &[Node],
        blocks: &[Block],
        number: u32,
        mut word: u64,
        visitor: &mut impl Visitor,
    ) {
        let node = Self::node(summaries, blocks, number);
        loop {
            let (bit, above) = node.take_lowest::<M>(word);
            // A poll may unwind (on a host). Then the tasks that are left below must stay
            // reachable.
            let restore = Restore::<M>(node, bit, PhantomData);
            let child = number * BITS + bit;
            let below = Below::node(summaries, blocks, child).bits();
            if below != 0 {
                Below::pass::<M>(summaries, blocks, child, below, visitor);
            }
            mem::forget(restore);
            word = node.bits() & above;
            if word == 0 {
                return;
            }
            if visitor.between() {
                word = node.bits() & above;
                // This never happens, since only the pass clears these bits. But it tells the
                // compiler that the word is not 0, which saves five instructions.
                if word == 0 {
                    return;
                }
            }
        }
    }

    fn take<M: Cpus>(
        summaries: &[Node],
        blocks: &[Block],
        number: u32,
        mut from: u32,
    ) -> Option<u32> {
        let node = Self::node(summaries, blocks, number);
        while let Some(bit) = node.first_from(from / Below::TASKS) {
            // In a later child, all tasks come after `from`.
            let is_first = bit == from / Below::TASKS;
            let from_below = if is_first { from % Below::TASKS } else { 0 };
            // As in a pass, this is cleared before the word below is read. It is set again if more
            // is ready.
            M::clear(&node.word, bit);
            let child = number * BITS + bit;
            let task = Below::take::<M>(summaries, blocks, child, from_below);
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

/// Sets a summary bit again if the pass below it unwinds.
struct Restore<'a, M: Cpus>(&'a Node, u32, PhantomData<M>);

impl<M: Cpus> Drop for Restore<'_, M> {
    fn drop(&mut self) {
        M::set(&self.0.word, self.1);
    }
}
