//! The room of a reply.

/// The least room for results that is used: with less, nothing is sent.
pub(super) const LEAST_ROOM: usize = 64;

/// What may be added to a reply.
pub(super) struct Room {
    /// Its longest length.
    pub(super) end: usize,
    /// The most further records.
    pub(super) records: usize,
}

impl Room {
    /// Whether a record of `length` bytes fits, which is then to be written.
    pub(super) fn takes(&mut self, out: &[u8], length: usize) -> bool {
        let fits = out.len() + length <= self.end && self.records > 0;
        self.records -= usize::from(fits);
        fits
    }

    /// How many bytes fit.
    pub(super) fn left(&self, out: &[u8]) -> usize {
        self.end - out.len()
    }
}
