//! The guest's console on the worker's side: a pipe to the process that started it.

use std::{
    io::{self, ErrorKind, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{io::write, stdio::stdout};

use crate::vmm::outcome::Outcome;

/// Sends on what the guest writes to its console.
pub(super) struct Outlet<'a> {
    to: &'a mut (dyn Write + Send),
    /// Set when the run must end, whether the output has been read or not.
    leave: &'a AtomicBool,
}

impl<'a> Outlet<'a> {
    pub(super) fn new(to: &'a mut (dyn Write + Send), leave: &'a AtomicBool) -> Self {
        Self { to, leave }
    }

    /// Sends all of it. Waits for the reader, as long as the run goes on.
    ///
    /// # Errors
    ///
    /// [`Outcome::Stopped`]: the run had to end before.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), Outcome> {
        while !bytes.is_empty() {
            match self.to.write(bytes) {
                Ok(length) => bytes = &bytes[length..],
                // As by the signal that makes the vCPU's thread leave.
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    if self.leave.load(Ordering::SeqCst) {
                        return Err(Outcome::Stopped);
                    }
                }
                // Nobody reads it any more.
                Err(_) => return Err(Outcome::Stopped),
            }
        }
        Ok(())
    }
}

/// Standard output, without the lock and the buffer of the standard library.
pub(super) struct StandardOutput;

impl Write for StandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(write(stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
