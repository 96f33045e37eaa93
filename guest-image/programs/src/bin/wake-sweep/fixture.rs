//! The fixture of a sweep: which tasks share a word, and which of them a handler may wake.

/// The number of tasks in a word of the ready set.
pub(crate) const WORD: usize = 64;

/// Tasks by their slots in the executor, which are assigned in order: the first 64 are in the first
/// word.
pub(crate) struct Fixture {
    /// How many tasks are spawned. Those not named below are never woken: they fill words.
    pub(crate) slots: usize,
    /// The task that arms the interrupt and wakes others.
    pub(crate) waker: usize,
    /// The tasks that it wakes.
    pub(crate) woken: &'static [usize],
    /// The tasks that the handler may wake, by name.
    victims: &'static [(&'static str, usize)],
}

/// One word. When the interrupt comes, the pass has already visited the slots behind the waker's;
/// it has yet to visit those ahead.
pub(crate) static ONE_WORD: Fixture = Fixture {
    slots: 4,
    waker: 1,
    woken: &[2],
    victims: &[("behind", 0), ("itself", 1), ("woken", 2), ("ahead", 3)],
};

/// Words below a summary. The waker wakes one task in its own word and one in another. The two
/// outermost words are empty until the handler wakes their first task.
pub(crate) static TWO_LEVELS: Fixture = Fixture {
    slots: 3 * WORD + 1,
    waker: WORD + 1,
    woken: &[WORD + 2, 2 * WORD + 1],
    victims: &[
        ("empty-word-behind", 0),
        ("behind", WORD),
        ("itself", WORD + 1),
        ("woken", WORD + 2),
        ("ahead", WORD + 3),
        ("behind-woken-far", 2 * WORD),
        ("woken-far", 2 * WORD + 1),
        ("empty-word-ahead", 3 * WORD),
    ],
};

impl Fixture {
    /// Returns the slot of the victim with this name.
    pub(crate) fn victim(&self, name: &str) -> Option<usize> {
        let found = self.victims.iter().find(|(victim, _)| *victim == name);
        found.map(|(_, slot)| *slot)
    }

    /// Returns how often `slot` is woken in a step whose handler wakes `victim`.
    pub(crate) fn wakes(&self, slot: usize, victim: usize) -> u32 {
        let in_step = slot == self.waker || self.woken.contains(&slot);
        u32::from(in_step) + u32::from(slot == victim)
    }
}
