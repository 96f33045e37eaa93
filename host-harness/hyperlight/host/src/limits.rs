//! [`Limits`]: what a guest's calls may hold on the host; and what they do hold.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// What the calls of one guest may hold on the host: those that run, those whose results the guest
/// has not collected, and those that were ended but whose task the runtime has not dropped yet, all
/// together.
///
/// A call beyond them ends with `Busy`, and a result beyond them with `TooLarge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The number of calls; 1,024 by default, which is as many as a guest makes.
    pub calls: usize,
    /// The bytes of arguments and results, and 32 KiB for each call with streams; 16 MiB by
    /// default. What a function allocates itself is not counted.
    pub bytes: usize,
}

impl Limits {
    /// The default limits.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            calls: 1024,
            bytes: 16 << 20,
        }
    }

    /// Sets the number of calls.
    #[must_use]
    pub const fn with_calls(self, calls: usize) -> Self {
        Self { calls, ..self }
    }

    /// Sets the bytes of arguments and results.
    #[must_use]
    pub const fn with_bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

/// What a guest's calls hold now, and how many there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// The calls that [`Limits::calls`] counts.
    pub calls: usize,
    /// The bytes that [`Limits::bytes`] counts.
    pub bytes: usize,
    /// The functions that were started since the `Host` was made.
    pub started: u64,
    /// How often the guest has sent a batch, for a reply. In a sandbox each is a call of
    /// `dormir_wait`, so one exit from the guest.
    pub exchanges: u64,
}

/// One call, in the number of those that exist. The call's entry and the runtime's task share it:
/// so a call that was ended counts until the runtime has dropped its task.
pub(crate) struct Counted(Arc<AtomicUsize>);

/// The number of calls that exist.
#[derive(Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

impl Count {
    pub(crate) fn add(&self) -> Arc<Counted> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Arc::new(Counted(Arc::clone(&self.0)))
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
