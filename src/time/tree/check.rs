//! The tree's rules, checked after each change in builds with debug assertions: at the first node,
//! and on the way from a node up to the root. That takes O(log n) steps. The tests check all nodes.

use core::ptr;

use super::{Left, Link, Right, Side, Tree, TreeNode, is_red, position, same};

impl<N: TreeNode> Tree<N> {
    /// Checks the nodes from this one up, and the first one.
    ///
    /// # Panics
    ///
    /// If a rule is broken.
    pub(super) fn check_from(&self, node: Link<N>) {
        let (mut below, mut top) = (node, None);
        while let Some(node) = below {
            check(node);
            top = below;
            below = position(node).parent.get();
        }
        if let Some(top) = top {
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

/// Checks a node, and its links to the nodes above and below.
fn check<N: TreeNode>(node: &'static N) {
    let links = position(node);
    if let Some(parent) = links.parent.get() {
        let is_child = |side: Side| same(position(parent).child(side), node);
        assert!(
            is_child(Left) || is_child(Right),
            "a parent lacks its child"
        );
    }
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
}
