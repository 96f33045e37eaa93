//! Numbers for what is to have no order, the same in every run.

/// A fixed sequence of numbers without an order (Marsaglia's xorshift).
pub struct Random(u64);

impl Random {
    /// The sequence that begins with this number, which is not zero.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one, less than `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
