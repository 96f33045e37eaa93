//! What a guest reads from its serial line: the bytes of a file descriptor.

use std::{
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use crate::stop::StopToken;

/// What a guest reads from its serial line: see [`RunConfig::input`](super::RunConfig::input).
///
/// A guest that is built with `dormir-guest` is also told the end, and then reads 0 bytes
/// (`dormir_guest::serial`). For others the line just falls silent. Input is read only when the
/// guest takes it, so a guest that takes none leaves all but a few KiB. A clone goes on where the
/// other has stopped reading.
///
/// # Examples
///
/// ```
/// use dormir_harness::vmm::GuestInput;
///
/// // Of this process.
/// let typed = GuestInput::standard_input()?;
/// // Of a test.
/// let prepared = GuestInput::from_bytes(b"help\n")?;
/// # drop((typed, prepared));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct GuestInput {
    pub(super) descriptor: Arc<OwnedFd>,
    /// The key that stops the run.
    pub(super) quit: Option<(u8, StopToken)>,
}

impl GuestInput {
    /// The bytes that `descriptor` yields: a pipe, a socket, a terminal, or a file.
    #[must_use]
    pub fn new(descriptor: impl Into<OwnedFd>) -> Self {
        Self {
            descriptor: Arc::new(descriptor.into()),
            quit: None,
        }
    }

    /// Stops the run at this byte, also while the guest takes no input. The guest gets neither it
    /// nor what came with it.
    #[must_use]
    pub fn with_quit_key(mut self, key: u8, stop: &StopToken) -> Self {
        self.quit = Some((key, stop.clone()));
        self
    }

    /// The standard input of this process.
    ///
    /// # Errors
    ///
    /// The process has no room for another descriptor.
    pub fn standard_input() -> io::Result<Self> {
        Ok(Self::new(io::stdin().as_fd().try_clone_to_owned()?))
    }

    /// These bytes.
    ///
    /// # Errors
    ///
    /// No temporary file can be made for them.
    pub fn from_bytes(bytes: &[u8]) -> io::Result<Self> {
        let mut file = tempfile::tempfile()?;
        file.write_all(bytes)?;
        io::Seek::rewind(&mut file)?;
        Ok(Self::new(file))
    }
}
