//! The guest's console on the worker's side: a pipe to the process that started it.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::{
    io::{Errno, write},
    stdio::stdout,
};

use crate::vmm::outcome::Outcome;

/// Sends on what the guest writes to its console.
pub(super) struct Outlet<'a> {
    /// Set when the run must end, whether the output has been read or not.
    leave: &'a AtomicBool,
}

impl<'a> Outlet<'a> {
    pub(super) fn new(leave: &'a AtomicBool) -> Self {
        Self { leave }
    }

    /// Sends all of it. Waits for the reader, as long as the run goes on.
    ///
    /// # Errors
    ///
    /// [`Outcome::Stopped`]: the run had to end before.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), Outcome> {
        while !bytes.is_empty() {
            match write(stdout(), bytes) {
                Ok(length) => bytes = &bytes[length..],
                // As by the signal that makes the vCPU's thread leave.
                Err(Errno::INTR) if !self.leave.load(Ordering::SeqCst) => {}
                // Nobody reads it any more.
                Err(_) => return Err(Outcome::Stopped),
            }
        }
        Ok(())
    }
}
