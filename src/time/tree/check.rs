//! The tree's rules, checked after each change in builds with debug assertions: at the first node,
//! and on the way from the lowest node that has changed up to the root, with the nodes beside it. A
//! change reaches no others, so the rules hold in what hangs below them. That takes O(log² n) steps.
//! The tests check all nodes.

use core::ptr;

use super::{Left, Link, Right, Side, Tree, TreeNode, is_red, position, same, side_of};

impl<N: TreeNode> Tree<N> {
    /// Checks the nodes from this one up, their children, and the first node.
    ///
    /// # Panics
    ///
    /// If a rule is broken.
    pub(super) fn check_from(&self, node: Link<N>) {
        if let Some(lowest) = node {
            let top = check_to_the_top(lowest);
            assert!(same(self.root.get(), top), "a node is in another tree");
        }
        let mut first = self.root.get();
        if let Some(root) = first {
            assert!(
                position(root).parent.get().is_none(),
                "the root has a parent"
            );
            assert!(!is_red(first), "the root is red");
        }
        while let Some(earlier) = first.and_then(|node| position(node).child(Left)) {
            first = Some(earlier);
        }
        let (first, cached) = (
            first.map(ptr::from_ref),
            self.first.get().map(ptr::from_ref),
        );
        assert!(first == cached, "another node is the first");
    }
}

/// Checks a node, those above it, and the children of each. Returns the topmost.
fn check_to_the_top<N: TreeNode>(lowest: &'static N) -> &'static N {
    let below = |side: Side| check_off_the_way(position(lowest).child(side));
    let mut node = lowest;
    let mut height = check(node, [Left, Right].map(below));
    while let Some(parent) = position(node).parent.get() {
        // Whether it is a child at all: `side_of` takes that for granted.
        let is_child = |side: Side| same(position(parent).child(side), node);
        assert!(
            is_child(Left) || is_child(Right),
            "a parent lacks its child"
        );
        let other = side_of(node, parent).other();
        let beside = check_off_the_way(position(parent).child(other));
        height = check(parent, [height, beside]);
        node = parent;
    }
    node
}

/// Checks a node whose parent is on the way. Returns its number of black nodes on each path down.
fn check_off_the_way<N: TreeNode>(node: Link<N>) -> u32 {
    let Some(node) = node else { return 0 };
    let below = |side: Side| black_nodes(position(node).child(side));
    check(node, [Left, Right].map(below))
}

/// Counts the black nodes on one path down from a node.
fn black_nodes<N: TreeNode>(mut node: Link<N>) -> u32 {
    let mut count = 0;
    while let Some(next) = node {
        count += u32::from(!is_red(node));
        node = position(next).child(Left);
    }
    count
}

/// Checks a node's links to the nodes below, which have so many black nodes on each path. Returns
/// how many the node itself has.
fn check<N: TreeNode>(node: &'static N, below: [u32; 2]) -> u32 {
    let links = position(node);
    for side in [Left, Right] {
        let Some(child) = links.child(side) else {
            continue;
        };
        assert!(
            same(position(child).parent.get(), node),
            "a child has another parent"
        );
        let is_in_order = match side {
            Left => child.key() <= node.key(),
            Right => node.key() <= child.key(),
        };
        assert!(is_in_order, "a child is on the wrong side");
        let both_are_red = links.is_red.get() && is_red(Some(child));
        assert!(!both_are_red, "a red node has a red child");
    }
    assert!(
        below[0] == below[1],
        "one side has more black nodes than the other"
    );
    below[0] + u32::from(!links.is_red.get())
}
