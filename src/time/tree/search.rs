//! Search for a node by its key.

use super::{
    Link,
    Side::{Left, Right},
    Tree, TreeNode, position, side_of,
};

impl<N: TreeNode> Tree<N> {
    /// The first node in order that has this key and for which `is_it` returns `true`.
    pub(in super::super) fn find(&self, key: &N::Key, is_it: impl Fn(&N) -> bool) -> Link<N> {
        let (mut below, mut found) = (self.root.get(), None);
        while let Some(node) = below {
            if node.key() < *key {
                below = position(node).child(Right);
            } else {
                found = Some(node);
                below = position(node).child(Left);
            }
        }
        loop {
            let node = found.filter(|node| node.key() <= *key)?;
            if is_it(node) {
                return Some(node);
            }
            found = next(node);
        }
    }
}

/// The next node in the order.
fn next<N: TreeNode>(node: &'static N) -> Link<N> {
    if let Some(mut later) = position(node).child(Right) {
        while let Some(earlier) = position(later).child(Left) {
            later = earlier;
        }
        return Some(later);
    }
    let mut below = node;
    while let Some(above) = position(below).parent.get() {
        if side_of(below, above) == Left {
            return Some(above);
        }
        below = above;
    }
    None
}
