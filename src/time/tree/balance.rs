//! What restores the rules of the tree after a change.

use super::{Side, Tree, TreeNode, is_red, position, same, side_of};

impl<N: TreeNode> Tree<N> {
    /// Rotates `node` down to this side. Returns the child from the other side, which is now in its
    /// position.
    #[inline(always)]
    pub(super) fn rotate(&self, node: &'static N, down: Side) -> &'static N {
        let links = position(node);
        let Some(child) = links.child(down.other()) else {
            unreachable!("a rotated node has a child on the other side")
        };
        let of_child = position(child);
        let inner = of_child.child(down);
        links.set_child(down.other(), inner);
        if let Some(inner) = inner {
            position(inner).parent.set(Some(node));
        }
        self.replace(links.parent.get(), node, child);
        of_child.set_child(down, Some(node));
        links.parent.set(Some(child));
        child
    }

    /// Restores the rules when `node` and its parent are both red.
    #[inline(never)]
    pub(super) fn rebalance_insert(&self, mut node: &'static N, mut parent: &'static N) {
        // A red node is not the root.
        while let Some(above) = position(parent).parent.get() {
            let side = side_of(parent, above);
            if let Some(uncle) = position(above).child(side.other())
                && position(uncle).is_red.get()
            {
                position(parent).is_red.set(false);
                position(uncle).is_red.set(false);
                let Some(next) = position(above).parent.get() else {
                    // The root stays black.
                    return;
                };
                position(above).is_red.set(true);
                if !position(next).is_red.get() {
                    return;
                }
                (node, parent) = (above, next);
                continue;
            }
            if same(position(parent).child(side.other()), node) {
                self.rotate(parent, side);
            }
            let top = self.rotate(above, side.other());
            position(top).is_red.set(false);
            position(above).is_red.set(true);
            return;
        }
    }

    /// Restores the rules when each path below this side of `parent` lacks a black node.
    #[inline(never)]
    pub(super) fn rebalance_remove(&self, mut parent: &'static N, mut side: Side) {
        loop {
            let links = position(parent);
            let Some(mut sibling) = links.child(side.other()) else {
                unreachable!("a path that lacks a black node has a sibling")
            };
            if position(sibling).is_red.get() {
                self.rotate(parent, side);
                position(sibling).is_red.set(false);
                links.is_red.set(true);
                let Some(inner) = links.child(side.other()) else {
                    unreachable!("a red node has two children, or none")
                };
                sibling = inner;
            }
            let outer = position(sibling).child(side.other());
            let outer = outer.filter(|outer| position(*outer).is_red.get());
            if outer.is_some() || is_red(position(sibling).child(side)) {
                match outer {
                    Some(outer) => position(outer).is_red.set(false),
                    // The inner child is red: it moves up.
                    None => {
                        self.rotate(sibling, side.other());
                    }
                }
                let top = self.rotate(parent, side);
                position(top).is_red.set(links.is_red.replace(false));
                return;
            }
            position(sibling).is_red.set(true);
            if links.is_red.replace(false) {
                return;
            }
            // Now each path through `parent` lacks a black node.
            let Some(above) = links.parent.get() else {
                return;
            };
            side = side_of(parent, above);
            parent = above;
        }
    }
}
