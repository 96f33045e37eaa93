//! The host's replies, as bytes. Their counterpart is `src/platform/hyperlight/reply.rs` in dormir.

/// The version of the replies' format.
pub(crate) const VERSION: u64 = 1;

/// How a call by the guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallStatus {
    Done = 0,
    TooLong = 1,
    Cancelled = 2,
}

/// A reply to `dormir_entry` or `dormir_wait`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostReply {
    pub(crate) status: CallStatus,
    pub(crate) interrupts: bool,
    pub(crate) generation: u64,
    pub(crate) stamp: u64,
    pub(crate) now: u64,
    pub(crate) tsc_hz: u64,
    pub(crate) longest_wait: u64,
}

impl HostReply {
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
