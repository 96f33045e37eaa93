//! What the host answers, as bytes. The other side is `src/platform/hyperlight/reply.rs` of dormir.

/// The form of the answers.
pub(crate) const VERSION: u64 = 1;

/// How a call of the guest's ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Done = 0,
    TooLong = 1,
    Cancelled = 2,
}

/// An answer to `dormir_entry` or `dormir_wait`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub(crate) status: Status,
    pub(crate) interrupts: bool,
    pub(crate) generation: u64,
    pub(crate) stamp: u64,
    pub(crate) now: u64,
    pub(crate) tsc_hz: u64,
    pub(crate) longest_wait: u64,
}

impl Reply {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let words = [
            VERSION,
            self.status as u64,
            self.interrupts.into(),
            self.generation,
            self.stamp,
            self.now,
            self.tsc_hz,
            self.longest_wait,
        ];
        words.into_iter().flat_map(u64::to_le_bytes).collect()
    }
}
