//! An intrusive red-black tree: its nodes lie in timers.
//!
//! It allocates nothing, and no operation takes more than O(log n) steps. The first node is kept
//! beside the root, so finding it takes one step, and removing it a few more: it has no left child,
//! and its right subtree is at most one node.
//!
//! Nodes refer to each other as if they were static. They are not: the caller of `insert` promises
//! that the node stays valid until it is removed, and that promise is the only unsafe part. After a
//! node is removed, nothing in the tree refers to it.
//!
//! The rules, after Guibas and Sedgewick: no red node has a red child, and all paths from the root
//! down to a missing child have the same number of black nodes. So no path is more than twice as
//! long as another.

use core::{
    cell::{Cell, UnsafeCell},
    mem::MaybeUninit,
    ptr,
};

mod balance;
// Not under Miri, where it takes long.
#[cfg(all(debug_assertions, not(miri)))]
mod check;
// Used by embassy's wakers only.
#[cfg(any(test, feature = "embassy-time"))]
mod search;

/// A node of a [`Tree`].
pub(super) trait TreeNode: Sized + 'static {
    /// The sort key. It must not change while the node is in a tree.
    type Key: PartialOrd;

    fn key(&self) -> Self::Key;
    fn links(&self) -> &Links<Self>;
}

type Link<N> = Option<&'static N>;

/// A node's position in the tree. It is uninitialized until the node is inserted, so that making a
/// timer takes few instructions.
pub(super) struct Links<N: 'static>(UnsafeCell<MaybeUninit<Position<N>>>);

/// A node's position in the tree.
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

    /// Initializes the node's position, as a leaf.
    ///
    /// # Safety
    ///
    /// The node is in no tree.
    #[inline(always)]
    unsafe fn init(&self, parent: Link<N>, is_red: bool) {
        // SAFETY: nothing else uses the links of a node that is in no tree.
        let position = unsafe { &mut *self.0.get() };
        position.write(Position {
            parent: Cell::new(parent),
            children: [Cell::new(None), Cell::new(None)],
            is_red: Cell::new(is_red),
        });
    }
}

/// The position of a node, which must be in the tree.
#[inline(always)]
fn position<N: TreeNode>(node: &'static N) -> &'static Position<N> {
    // SAFETY: only `init` writes it, before the node is in a tree, when there is no other reference
    // to it.
    let position = unsafe { &*node.links().0.get() };
    // SAFETY: the functions of this module get a node from the tree, where `insert` has initialized
    // it; or in `remove`, whose caller promises that the node is in the tree.
    unsafe { position.assume_init_ref() }
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

/// Nodes in the order of their keys; nodes with equal keys in the order of their insertion.
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
    node.is_some_and(|node| position(node).is_red.get())
}

/// The side of `parent` that `child` is on.
#[inline(always)]
fn side_of<N: TreeNode>(child: &'static N, parent: &'static N) -> Side {
    if same(position(parent).child(Left), child) {
        Left
    } else {
        Right
    }
}

/// The next node on the path down to this key's position, or the side where a child is missing.
#[inline(always)]
fn below<N: TreeNode>(node: &'static N, key: &N::Key) -> Result<&'static N, Side> {
    if *key < node.key() {
        position(node).child(Left).ok_or(Left)
    } else {
        position(node).child(Right).ok_or(Right)
    }
}

impl<N: TreeNode> Tree<N> {
    /// The node with the smallest key; of several, the one that was inserted first.
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
    /// `node` is in no tree. It stays in place and valid, and its key unchanged, until it is
    /// [removed](Self::remove).
    #[inline(always)]
    pub(super) unsafe fn insert(&self, node: &N) {
        // SAFETY: the reference is used only until the node is removed, and the caller promises
        // that it is valid until then.
        let node = unsafe { &*ptr::from_ref(node) };
        self.place(node);
        #[cfg(all(debug_assertions, not(miri)))]
        self.check_from(Some(node));
    }

    /// Finds the place of a new node.
    #[inline(always)]
    fn place(&self, node: &'static N) {
        let Some(mut parent) = self.root.get() else {
            // SAFETY: `insert` promises that it is in no tree.
            unsafe { node.links().init(None, false) };
            self.root.set(Some(node));
            self.first.set(Some(node));
            return;
        };
        let key = node.key();
        // Two steps a round: with one, the compiler adds a move to each.
        loop {
            match below(parent, &key) {
                Ok(next) => match below(next, &key) {
                    Ok(next) => parent = next,
                    Err(side) => return self.attach(node, next, side),
                },
                Err(side) => return self.attach(node, parent, side),
            }
        }
    }

    /// Attaches a new node where `parent` has no child.
    #[inline(always)]
    fn attach(&self, node: &'static N, parent: &'static N, side: Side) {
        // SAFETY: the node is not in the tree yet.
        unsafe { node.links().init(Some(parent), true) };
        position(parent).set_child(side, Some(node));
        if side == Left && self.is_first(parent) {
            self.first.set(Some(node));
        }
        if position(parent).is_red.get() {
            self.rebalance_insert(node, parent);
        }
    }

    /// Removes a node.
    ///
    /// # Safety
    ///
    /// The node is in this tree.
    #[inline(always)]
    pub(super) unsafe fn remove(&self, node: &N) {
        // SAFETY: the caller promises that the node is in the tree, and so valid.
        let node = unsafe { &*ptr::from_ref(node) };
        #[cfg(all(debug_assertions, not(miri)))]
        self.check_from(Some(node));
        let _lowest = self.take_out(node);
        #[cfg(all(debug_assertions, not(miri)))]
        self.check_from(_lowest);
    }

    /// Takes a node out of the tree. Returns the lowest node that has changed, if any is left.
    #[inline(always)]
    fn take_out(&self, node: &'static N) -> Link<N> {
        let links = position(node);
        let parent = links.parent.get();
        match (links.child(Left), links.child(Right)) {
            (None, None) => {
                let Some(parent) = parent else {
                    self.root.set(None);
                    self.first.set(None);
                    return None;
                };
                if self.is_first(node) {
                    self.first.set(Some(parent));
                }
                let side = side_of(node, parent);
                position(parent).set_child(side, None);
                if !links.is_red.get() {
                    self.rebalance_remove(parent, side);
                }
                Some(parent)
            }
            (Some(child), None) | (None, Some(child)) => {
                // A single child is a red leaf, so its parent is black.
                if self.is_first(node) {
                    self.first.set(Some(child));
                }
                self.replace(parent, node, child);
                position(child).is_red.set(false);
                Some(child)
            }
            (Some(left), Some(right)) => Some(self.remove_inner(node, left, right)),
        }
    }

    /// Removes a node with two children: the next node in order, which has no left child, takes its
    /// position. Returns the lowest node that has lost one below it: the one above the next node,
    /// or the next node if the removed one was that.
    #[inline(never)]
    fn remove_inner(&self, node: &'static N, left: &'static N, right: &'static N) -> &'static N {
        let mut next = right;
        while let Some(earlier) = position(next).child(Left) {
            next = earlier;
        }
        let (links, of_next) = (position(node), position(next));
        let child = of_next.child(Right);
        let was_red = of_next.is_red.get();
        // Where a node will be missing.
        let (gap, side) = match of_next.parent.get() {
            Some(parent) if !ptr::eq(parent, node) => {
                position(parent).set_child(Left, child);
                if let Some(child) = child {
                    position(child).parent.set(Some(parent));
                }
                of_next.set_child(Right, Some(right));
                position(right).parent.set(Some(next));
                (parent, Left)
            }
            _ => (next, Right),
        };
        of_next.set_child(Left, Some(left));
        position(left).parent.set(Some(next));
        of_next.is_red.set(links.is_red.get());
        self.replace(links.parent.get(), node, next);
        if let Some(child) = child {
            position(child).is_red.set(false);
        } else if !was_red {
            self.rebalance_remove(gap, side);
        }
        gap
    }

    /// Attaches `other` where `node` was below `parent`.
    #[inline(always)]
    fn replace(&self, parent: Link<N>, node: &'static N, other: &'static N) {
        position(other).parent.set(parent);
        match parent {
            Some(parent) => position(parent).set_child(side_of(node, parent), Some(other)),
            None => self.root.set(Some(other)),
        }
    }
}

#[cfg(test)]
mod tests;
