//! Free places, last in, first out.

/// The head of a list of free places `0..places`.
///
/// A free place keeps a link: how far behind the place after it the next free one lies. So a list whose
/// memory is all zero has every place free, in order, and costs no room in an image.
///
/// It is for use inside critical sections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FreeList {
    head: u32,
}

impl FreeList {
    /// All places are free.
    pub(crate) const ALL: Self = Self { head: 0 };

    /// Takes a free place, whose link `link` reads; `None` if there is none.
    #[inline(always)]
    pub(crate) fn take(&mut self, places: u32, link: impl FnOnce(u32) -> u32) -> Option<u32> {
        let place = self.head;
        if place == places {
            return None;
        }
        self.head = (place + 1).wrapping_add(link(place));
        Some(place)
    }

    /// Gives a place back and returns the link that is to be kept with it.
    #[inline(always)]
    #[must_use]
    pub(crate) fn give_back(&mut self, place: u32) -> u32 {
        let link = self.head.wrapping_sub(place + 1);
        self.head = place;
        link
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::HashSet, vec, vec::Vec};

    #[test]
    fn untouched_places_come_in_order() {
        let mut list = FreeList::ALL;
        let taken: Vec<_> = std::iter::from_fn(|| list.take(4, |_| 0)).collect();
        assert_eq!(taken, [0, 1, 2, 3]);
    }

    proptest! {
        /// Whatever is taken and given back: no place is given out twice, and all that are free are.
        #[test]
        fn each_place_is_given_out_once(places in 1_u32..20, steps in prop::collection::vec(any::<(bool, u32)>(), 0..200)) {
            let mut list = FreeList::ALL;
            let mut links = vec![0; places as usize];
            let mut taken: Vec<u32> = Vec::new();
            for (take, which) in steps {
                if take {
                    let place = list.take(places, |place| links[place as usize]);
                    prop_assert_eq!(place.is_none(), taken.len() == places as usize);
                    taken.extend(place);
                } else if !taken.is_empty() {
                    let place = taken.swap_remove(which as usize % taken.len());
                    links[place as usize] = list.give_back(place);
                }
                prop_assert_eq!(taken.iter().collect::<HashSet<_>>().len(), taken.len());
            }
        }
    }
}
