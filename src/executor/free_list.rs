//! A list of free slots, last in, first out.

/// The head of a list of free slots, which are numbered from 0.
///
/// A free slot stores a link: the distance from the slot after it to the next free one. So when all
/// memory is zero, every slot is free, in order, and the list takes no room in an image.
///
/// The list is used in critical sections only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FreeList {
    head: u32,
}

impl FreeList {
    /// All slots are free.
    pub(crate) const ALL: Self = Self { head: 0 };

    /// Takes a free slot of `slots`, whose link `link` reads; `None` if none is free.
    #[inline(always)]
    pub(crate) fn take(&mut self, slots: u32, link: impl FnOnce(u32) -> u32) -> Option<u32> {
        let slot = self.head;
        if slot == slots {
            return None;
        }
        debug_assert!(
            slot < slots,
            "the free list leads to slot {slot} of {slots}"
        );
        self.head = (slot + 1).wrapping_add(link(slot));
        Some(slot)
    }

    /// Makes a slot free. Returns the link that is to be stored in it.
    #[inline(always)]
    #[must_use]
    pub(crate) fn give_back(&mut self, slot: u32) -> u32 {
        let link = self.head.wrapping_sub(slot + 1);
        self.head = slot;
        link
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::HashSet, vec, vec::Vec};

    #[test]
    fn untouched_slots_come_in_order() {
        let mut list = FreeList::ALL;
        let taken: Vec<_> = std::iter::from_fn(|| list.take(4, |_| 0)).collect();
        assert_eq!(taken, [0, 1, 2, 3]);
    }

    proptest! {
        /// In any order of takes and returns, no slot is taken twice, and each free slot is found.
        #[test]
        fn each_free_slot_is_taken_once(
            slots in 1_u32..20,
            steps in prop::collection::vec(any::<(bool, u32)>(), 0..200),
        ) {
            let mut list = FreeList::ALL;
            let mut links = vec![0; slots as usize];
            let mut taken: Vec<u32> = Vec::new();
            for (take, which) in steps {
                if take {
                    let slot = list.take(slots, |slot| links[slot as usize]);
                    prop_assert_eq!(slot.is_none(), taken.len() == slots as usize);
                    taken.extend(slot);
                } else if !taken.is_empty() {
                    let slot = taken.swap_remove(which as usize % taken.len());
                    links[slot as usize] = list.give_back(slot);
                }
                prop_assert_eq!(taken.iter().collect::<HashSet<_>>().len(), taken.len());
            }
        }
    }
}
