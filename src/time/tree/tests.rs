//! The tree against a sorted model, and its rules.

use std::{boxed::Box, collections::BTreeMap, vec::Vec};

use proptest::{collection::vec as many, prelude::*};

use super::*;

struct Item {
    key: u8,
    number: usize,
    links: Links<Self>,
}

impl TreeNode for Item {
    type Key = u8;

    fn key(&self) -> u8 {
        self.key
    }

    fn links(&self) -> &Links<Self> {
        &self.links
    }
}

/// Checks all nodes in order. Returns the number of black nodes on each path down.
fn look(node: Link<Item>, parent: Link<Item>, found: &mut Vec<usize>) -> u32 {
    let Some(node) = node else { return 0 };
    let links = position(node);
    assert!(links.parent.get().map(ptr::from_ref) == parent.map(ptr::from_ref));
    if links.is_red.get() {
        assert!(parent.is_some(), "the root is black");
        assert!(!is_red(links.child(Left)) && !is_red(links.child(Right)));
    }
    let left = look(links.child(Left), Some(node), found);
    found.push(node.number);
    let right = look(links.child(Right), Some(node), found);
    assert_eq!(left, right, "each path has the same number of black nodes");
    left + u32::from(!links.is_red.get())
}

/// Items that stay in place, a tree of some of them, and the model of that tree.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "items stay in place when the list grows")]
struct Pair {
    items: Vec<Box<Item>>,
    tree: Tree<Item>,
    model: BTreeMap<(u8, usize), usize>,
}

impl Default for Tree<Item> {
    fn default() -> Self {
        Self::new()
    }
}

impl Pair {
    fn insert(&mut self, key: u8) {
        let number = self.items.len();
        self.items.push(Box::new(Item {
            key,
            number,
            links: Links::new(),
        }));
        let is_first = self.model.keys().all(|other| key < other.0);
        // SAFETY: the item is new, and stays in its box.
        unsafe { self.tree.insert(&self.items[number]) };
        assert_eq!(self.tree.is_first(&self.items[number]), is_first);
        self.model.insert((key, number), number);
    }

    /// Removes the item at this position in the order.
    fn remove(&mut self, place: usize) {
        let Some((key, number)) = self.model.iter().nth(place).map(|(k, n)| (*k, *n)) else {
            return;
        };
        self.model.remove(&key);
        // SAFETY: the model contains it, so it is in the tree.
        unsafe { self.tree.remove(&self.items[number]) };
    }

    fn look(&self) {
        let mut found = Vec::new();
        look(self.tree.root.get(), None, &mut found);
        assert!(found.iter().eq(self.model.values()), "the order");
        let first = self.tree.first().map(|item| item.number);
        assert_eq!(first, found.first().copied());
    }

    /// Searches for each item by its key, and for missing items.
    fn find(&self) {
        for key in 0..=255 {
            let with_key: Vec<_> = self.model.range((key, 0)..=(key, usize::MAX)).collect();
            let first = self.tree.find(&key, |_| true).map(|item| item.number);
            assert_eq!(first, with_key.first().map(|(_, number)| **number));
            assert!(self.tree.find(&key, |_| false).is_none());
            for (_, number) in with_key {
                let found = self.tree.find(&key, |item| item.number == *number);
                assert!(found.is_some_and(|found| ptr::eq(found, &*self.items[*number])));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Any sequence of insertions and removals. The keys are few, so that many are equal.
    #[test]
    fn the_tree_equals_the_model(
        keys in 1..=255u8,
        steps in many((0..3u8, any::<u8>()), 1..400),
    ) {
        let mut pair = Pair::default();
        for (what, number) in steps {
            match what {
                0 => pair.remove(number as usize % pair.model.len().max(1)),
                1 if number % 2 == 0 => pair.remove(0),
                _ => pair.insert(number % keys),
            }
            pair.look();
        }
        pair.find();
        while !pair.model.is_empty() {
            pair.remove(0);
            pair.look();
        }
    }
}

/// As many removals as insertions, also of nodes with two children, at a size where all cases
/// occur.
#[test]
fn each_of_a_hundred_nodes_can_be_removed() {
    const NODES: usize = if cfg!(miri) { 20 } else { 100 };
    for place in 0..NODES {
        let mut pair = Pair::default();
        (0..NODES).for_each(|n| pair.insert((n * 37 % 101) as u8));
        pair.remove(place);
        pair.look();
    }
}

/// No path down is longer than twice the logarithm.
#[test]
fn a_tree_of_sorted_keys_is_not_deep() {
    fn depth(node: Link<Item>) -> usize {
        node.map_or(0, |node| {
            let links = position(node);
            1 + depth(links.child(Left)).max(depth(links.child(Right)))
        })
    }
    let mut pair = Pair::default();
    (0..255).for_each(|key| pair.insert(key));
    pair.look();
    assert!(depth(pair.tree.root.get()) <= 16);
}

/// What is checked after each change finds each rule that is broken.
#[test]
#[cfg(all(debug_assertions, not(miri)))]
fn broken_rules_are_found() {
    type Break = fn(&Tree<Item>, &'static Item);
    // Of three nodes, the root has two red children.
    let breaks: [(&str, Break); 7] = [
        ("the root is red", |_, root| {
            for child in [Left, Right].map(|side| position(root).child(side)) {
                position(child.expect("it has two")).is_red.set(false);
            }
            position(root).is_red.set(true);
        }),
        ("a node is in another tree", |tree, root| {
            tree.root.set(position(root).child(Left));
        }),
        ("a child has another parent", |_, root| {
            let right = position(root).child(Right).expect("it has two");
            position(right).parent.set(None);
        }),
        ("a child is on the wrong side", |_, root| {
            let children = [Left, Right].map(|side| position(root).child(side));
            position(root).set_child(Left, children[1]);
            position(root).set_child(Right, children[0]);
        }),
        ("another node is the first", |tree, root| {
            tree.first.set(Some(root))
        }),
        ("a red node has a red child", |_, root| {
            position(root).is_red.set(true)
        }),
        (MORE_BLACK_NODES, |_, root| {
            let right = position(root).child(Right).expect("it has two");
            position(right).is_red.set(false);
        }),
    ];
    for (sentence, make) in breaks {
        let mut pair = Pair::default();
        [2, 1, 3].into_iter().for_each(|key| pair.insert(key));
        let root = pair.tree.root.get().expect("there is one");
        pair.tree.check_from(Some(root));
        make(&pair.tree, root);
        // From the root, so that one rule is broken on the way.
        assert_eq!(complaint(|| pair.tree.check_from(Some(root))), sentence);
    }
}

#[cfg(all(debug_assertions, not(miri)))]
const MORE_BLACK_NODES: &str = "one side has more black nodes than the other";

#[cfg(all(debug_assertions, not(miri)))]
fn complaint(f: impl FnOnce()) -> &'static str {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
    let message = result.expect_err("a rule is broken");
    message.downcast_ref::<&str>().copied().unwrap_or_default()
}

/// A removal is checked where a node is missing afterwards, which is neither near the node that was
/// removed nor near the first.
#[test]
#[cfg(all(debug_assertions, not(miri)))]
fn a_removal_is_checked_where_its_gap_is() {
    let mut pair = Pair::default();
    [40, 20, 60, 10, 30, 55, 70, 65, 75, 50]
        .into_iter()
        .for_each(|key| pair.insert(key));
    pair.look();
    let root = pair.tree.root.get().expect("there is one");
    assert_eq!(root.key, 40);
    // The root's place is taken by 50, a red leaf, so nothing else changes. Of the children of 60
    // it was on the left; a fault is on the right.
    let on_the_right = |node| position(node).child(Right).expect("it has one");
    let far = on_the_right(on_the_right(root));
    assert_eq!(far.key, 70);
    position(on_the_right(far)).is_red.set(false);
    pair.tree.check_from(pair.tree.first());
    assert_eq!(complaint(|| pair.remove(3)), MORE_BLACK_NODES);
}
