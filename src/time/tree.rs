//! A red-black tree whose nodes lie elsewhere: in timers.
//!
//! It asks for no memory, and no operation on it takes more than O(log n) steps. The first node is kept
//! beside the root, so that to find it takes one step, and to take it out a few more: its right subtree
//! is at most one node, and it has no left one.
//!
//! Nodes refer to each other as if they were static. They are not: who inserts a node promises that it
//! stays until it is removed, and that promise is the only unsafe thing here. When a node is removed,
//! nothing in the tree refers to it any more.
//!
//! The rules, after Guibas and Sedgewick: no red node has a red child, and all ways from the root down to
//! a missing child go through equally many black nodes. So none is more than twice as long as another.

use core::{
    cell::{Cell, UnsafeCell},
    mem::MaybeUninit,
    ptr,
};

// As pure as the rest; asked by embassy's wakers only.
#[cfg(any(test, feature = "embassy-time"))]
mod search;

/// What can be in a [`Tree`].
pub(super) trait TreeNode: Sized + 'static {
    /// The order. It stays the same while the node is in a tree.
    type Key: PartialOrd;

    fn key(&self) -> Self::Key;
    fn links(&self) -> &Links<Self>;
}

type Link<N> = Option<&'static N>;

/// Room for a node's place in the tree. Until the node is inserted there is nothing in it, so that a timer
/// is made with few instructions.
pub(super) struct Links<N: 'static>(UnsafeCell<MaybeUninit<Position<N>>>);

/// A node's place in the tree.
struct Position<N: 'static> {
    parent: Cell<Link<N>>,
    children: [Cell<Link<N>>; 2],
    is_red: Cell<bool>,
}

/// A child's side.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left = 0,
    Right = 1,
}
use Side::{Left, Right};

impl Side {
    fn other(self) -> Self {
        match self {
            Left => Right,
            Right => Left,
        }
    }
}

impl<N> Links<N> {
    #[inline(always)]
    pub(super) const fn new() -> Self {
        Self(UnsafeCell::new(MaybeUninit::uninit()))
    }

    /// Gives the node its first place, as a leaf.
    ///
    /// # Safety
    ///
    /// The node is in no tree.
    #[inline(always)]
    unsafe fn fill(&self, parent: Link<N>, is_red: bool) {
        // SAFETY: outside of trees nobody else uses it.
        let room = unsafe { &mut *self.0.get() };
        room.write(Position {
            parent: Cell::new(parent),
            children: [Cell::new(None), Cell::new(None)],
            is_red: Cell::new(is_red),
        });
    }
}

/// The place of a node of the tree: only those are asked.
#[inline(always)]
fn place<N: TreeNode>(node: &'static N) -> &'static Position<N> {
    // SAFETY: it is written only by `fill`, before the node is in a tree, so that there is no other
    // reference to it then.
    let room = unsafe { &*node.links().0.get() };
    // SAFETY: the functions of this module come by a node in two ways: from the tree, into which `insert`
    // puts it, having filled it; or in `remove`, whose caller says that it is in the tree.
    unsafe { room.assume_init_ref() }
}

impl<N> Position<N> {
    #[inline(always)]
    fn child(&self, side: Side) -> Link<N> {
        self.children[side as usize].get()
    }

    #[inline(always)]
    fn set_child(&self, side: Side, child: Link<N>) {
        self.children[side as usize].set(child);
    }
}

/// Nodes in the order of their keys; those with equal keys in the order in which they were inserted.
pub(super) struct Tree<N: 'static> {
    root: Cell<Link<N>>,
    first: Cell<Link<N>>,
}

impl<N> Tree<N> {
    pub(super) const fn new() -> Self {
        Self {
            root: Cell::new(None),
            first: Cell::new(None),
        }
    }
}

#[inline(always)]
fn same<N>(one: Link<N>, other: &'static N) -> bool {
    one.is_some_and(|one| ptr::eq(one, other))
}

fn is_red<N: TreeNode>(node: Link<N>) -> bool {
    node.is_some_and(|node| place(node).is_red.get())
}

/// On which side `child` is below `parent`.
#[inline(always)]
fn side_of<N: TreeNode>(child: &'static N, parent: &'static N) -> Side {
    if same(place(parent).child(Left), child) {
        Left
    } else {
        Right
    }
}

/// The next node on the way down to where this key belongs, or on which side there is none.
#[inline(always)]
fn below<N: TreeNode>(node: &'static N, key: &N::Key) -> Result<&'static N, Side> {
    if *key < node.key() {
        place(node).child(Left).ok_or(Left)
    } else {
        place(node).child(Right).ok_or(Right)
    }
}

impl<N: TreeNode> Tree<N> {
    /// The node with the least key; of those, the one that was inserted first.
    #[inline(always)]
    pub(super) fn first(&self) -> Link<N> {
        self.first.get()
    }

    #[inline(always)]
    pub(super) fn is_first(&self, node: &N) -> bool {
        self.first().is_some_and(|first| ptr::eq(first, node))
    }

    /// Inserts a node.
    ///
    /// # Safety
    ///
    /// `node` is in no tree, and stays where it is, valid and with its key unchanged, until it is
    /// [removed](Self::remove).
    #[inline(always)]
    pub(super) unsafe fn insert(&self, node: &N) {
        // SAFETY: the reference is used only until the node is removed, and the caller says that it is
        // valid until then.
        let node = unsafe { &*ptr::from_ref(node) };
        let Some(mut parent) = self.root.get() else {
            // SAFETY: the caller says that it is in no tree.
            unsafe { node.links().fill(None, false) };
            self.root.set(Some(node));
            self.first.set(Some(node));
            return;
        };
        let key = node.key();
        // Two steps a round: with one, its end would be copied to its beginning.
        loop {
            match below(parent, &key) {
                Ok(next) => match below(next, &key) {
                    Ok(next) => parent = next,
                    Err(side) => return self.hang(node, next, side),
                },
                Err(side) => return self.hang(node, parent, side),
            }
        }
    }

    /// Puts a new node where `parent` has no child.
    #[inline(always)]
    fn hang(&self, node: &'static N, parent: &'static N, side: Side) {
        // SAFETY: nobody knows of the node yet.
        unsafe { node.links().fill(Some(parent), true) };
        place(parent).set_child(side, Some(node));
        if side == Left && self.is_first(parent) {
            self.first.set(Some(node));
        }
        if place(parent).is_red.get() {
            self.mend_insert(node, parent);
        }
    }

    /// Removes a node.
    ///
    /// # Safety
    ///
    /// It is in this tree.
    #[inline(always)]
    pub(super) unsafe fn remove(&self, node: &N) {
        // SAFETY: the caller says that the node is in the tree, and so valid.
        let node = unsafe { &*ptr::from_ref(node) };
        let links = place(node);
        let parent = links.parent.get();
        match (links.child(Left), links.child(Right)) {
            (None, None) => {
                let Some(parent) = parent else {
                    self.root.set(None);
                    self.first.set(None);
                    return;
                };
                if self.is_first(node) {
                    self.first.set(Some(parent));
                }
                let side = side_of(node, parent);
                place(parent).set_child(side, None);
                if !links.is_red.get() {
                    self.mend_remove(parent, side);
                }
            }
            (Some(child), None) | (None, Some(child)) => {
                // A single child is a red leaf, so its parent is black.
                if self.is_first(node) {
                    self.first.set(Some(child));
                }
                self.replace(parent, node, child);
                place(child).is_red.set(false);
            }
            (Some(left), Some(right)) => self.remove_inner(node, left, right),
        }
    }

    /// Removes a node with two children: the next one, which has no left child, takes its place.
    #[inline(never)]
    fn remove_inner(&self, node: &'static N, left: &'static N, right: &'static N) {
        let mut next = right;
        while let Some(earlier) = place(next).child(Left) {
            next = earlier;
        }
        let (links, of_next) = (place(node), place(next));
        let child = of_next.child(Right);
        let was_red = of_next.is_red.get();
        // Where a node is missing then.
        let (gap, side) = match of_next.parent.get() {
            Some(parent) if !ptr::eq(parent, node) => {
                place(parent).set_child(Left, child);
                if let Some(child) = child {
                    place(child).parent.set(Some(parent));
                }
                of_next.set_child(Right, Some(right));
                place(right).parent.set(Some(next));
                (parent, Left)
            }
            _ => (next, Right),
        };
        of_next.set_child(Left, Some(left));
        place(left).parent.set(Some(next));
        of_next.is_red.set(links.is_red.get());
        self.replace(links.parent.get(), node, next);
        if let Some(child) = child {
            place(child).is_red.set(false);
        } else if !was_red {
            self.mend_remove(gap, side);
        }
    }

    /// Puts `other` where `node` was below `parent`.
    #[inline(always)]
    fn replace(&self, parent: Link<N>, node: &'static N, other: &'static N) {
        place(other).parent.set(parent);
        match parent {
            Some(parent) => place(parent).set_child(side_of(node, parent), Some(other)),
            None => self.root.set(Some(other)),
        }
    }

    /// Turns the edge between `node` and the child that is not on this side, so that `node` goes down on
    /// it, and gives the child, which has its place now.
    #[inline(always)]
    fn rotate(&self, node: &'static N, down: Side) -> &'static N {
        let links = place(node);
        let Some(child) = links.child(down.other()) else {
            unreachable!("what is turned has a child there")
        };
        let of_child = place(child);
        let inner = of_child.child(down);
        links.set_child(down.other(), inner);
        if let Some(inner) = inner {
            place(inner).parent.set(Some(node));
        }
        self.replace(links.parent.get(), node, child);
        of_child.set_child(down, Some(node));
        links.parent.set(Some(child));
        child
    }

    /// `node` and its parent are both red.
    #[inline(never)]
    fn mend_insert(&self, mut node: &'static N, mut parent: &'static N) {
        // A red node is not the root.
        while let Some(above) = place(parent).parent.get() {
            let side = side_of(parent, above);
            if let Some(uncle) = place(above).child(side.other())
                && place(uncle).is_red.get()
            {
                place(parent).is_red.set(false);
                place(uncle).is_red.set(false);
                let Some(next) = place(above).parent.get() else {
                    // The root stays black.
                    return;
                };
                place(above).is_red.set(true);
                if !place(next).is_red.get() {
                    return;
                }
                (node, parent) = (above, next);
                continue;
            }
            if same(place(parent).child(side.other()), node) {
                self.rotate(parent, side);
            }
            let top = self.rotate(above, side.other());
            place(top).is_red.set(false);
            place(above).is_red.set(true);
            return;
        }
    }

    /// Below `parent`, on this side, a black node is missing on each way down.
    #[inline(never)]
    fn mend_remove(&self, mut parent: &'static N, mut side: Side) {
        loop {
            let links = place(parent);
            let Some(mut sibling) = links.child(side.other()) else {
                unreachable!("where a black node is missing, there is one beside it")
            };
            if place(sibling).is_red.get() {
                self.rotate(parent, side);
                place(sibling).is_red.set(false);
                links.is_red.set(true);
                let Some(inner) = links.child(side.other()) else {
                    unreachable!("a red node had two children, or none")
                };
                sibling = inner;
            }
            let outer = place(sibling).child(side.other());
            let outer = outer.filter(|outer| place(*outer).is_red.get());
            if outer.is_some() || is_red(place(sibling).child(side)) {
                match outer {
                    Some(outer) => place(outer).is_red.set(false),
                    // The inner one is red: it comes to the top.
                    None => {
                        self.rotate(sibling, side.other());
                    }
                }
                let top = self.rotate(parent, side);
                place(top).is_red.set(links.is_red.replace(false));
                return;
            }
            place(sibling).is_red.set(true);
            if links.is_red.replace(false) {
                return;
            }
            // Now it is missing on each way through `parent`.
            let Some(above) = links.parent.get() else {
                return;
            };
            side = side_of(parent, above);
            parent = above;
        }
    }
}

#[cfg(test)]
mod tests;
