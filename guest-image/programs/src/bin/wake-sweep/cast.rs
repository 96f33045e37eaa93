//! The tasks of a sweep: which of them lie in the same word, and whom a handler may wake.

use crate::tasks;

/// Tasks in a word of the ready set.
const WORD: usize = 64;

/// Tasks by their places in the executor, which are given out in order: the first 64 are the first
/// word's.
pub(crate) struct Cast {
    /// How many places are taken. Those that are not named below are never woken: they fill words.
    pub(crate) places: usize,
    /// The task that arms the interrupt.
    pub(crate) lead: usize,
    /// Whom it wakes itself.
    pub(crate) led: &'static [usize],
    /// Whom the handler may wake.
    victims: &'static [(&'static str, usize)],
}

/// One word. Behind the lead's place the pass has been when the interrupt comes; ahead of it the pass
/// will be.
pub(crate) static ONE_WORD: Cast = Cast {
    places: 4,
    lead: 1,
    led: &[2],
    victims: &[("behind", 0), ("itself", 1), ("led", 2), ("ahead", 3)],
};

/// Words below a summary. The lead wakes one task in its word and one in another. The two outermost words
/// are empty until the handler wakes the first task in them.
pub(crate) static TWO_LEVELS: Cast = Cast {
    places: 3 * WORD + 1,
    lead: WORD + 1,
    led: &[WORD + 2, 2 * WORD + 1],
    victims: &[
        ("empty-word-behind", 0),
        ("behind", WORD),
        ("itself", WORD + 1),
        ("led", WORD + 2),
        ("ahead", WORD + 3),
        ("behind-led-far", 2 * WORD),
        ("led-far", 2 * WORD + 1),
        ("empty-word-ahead", 3 * WORD),
    ],
};

impl Cast {
    /// The place of the victim with that name.
    pub(crate) fn victim(&self, name: &str) -> Option<usize> {
        let found = self.victims.iter().find(|(victim, _)| *victim == name);
        found.map(|(_, place)| *place)
    }

    /// How often `place` is woken in a step whose handler wakes `victim`.
    pub(crate) fn wakes(&self, place: usize, victim: usize) -> u32 {
        let in_turn = place == self.lead || self.led.contains(&place);
        u32::from(in_turn) + u32::from(place == victim)
    }

    /// That tasks lie in words as this cast has it. Their wakers carry the word's address plus the bit.
    pub(crate) fn check_places(&self) {
        let data = |place| tasks::waker(place).data().addr();
        for place in 0..self.places {
            let (word, bit) = (data(place - place % WORD), place % WORD);
            assert!(word % WORD == 0, "task {place} is not in a word of its own");
            assert!(data(place) == word + bit, "task {place} is elsewhere");
        }
    }
}
