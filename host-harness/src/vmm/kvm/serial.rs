//! The serial line: a 16550 between the vCPU's thread and the one that feeds it.

use std::{
    io, mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use vm_superio::{Serial, Trigger, serial::NoEvents};
use vmm_sys_util::eventfd::EventFd;

use crate::vmm::feed::INTERVAL;

/// Its interrupt.
struct SerialInterrupt(EventFd);

impl Trigger for SerialInterrupt {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// The serial line of one guest.
pub(super) struct SerialLine {
    /// It writes to a buffer, which is emptied after each access.
    uart: Mutex<Serial<SerialInterrupt, NoEvents, Vec<u8>>>,
    /// The guest has read from it, so there may be room for more.
    has_room: Condvar,
}

impl SerialLine {
    /// One whose interrupt is this event, which must not block.
    pub(super) fn new(interrupt: EventFd) -> Self {
        Self {
            uart: Mutex::new(Serial::new(SerialInterrupt(interrupt), Vec::new())),
            has_room: Condvar::new(),
        }
    }

    /// Handles the guest's write to a register. Returns what it has sent.
    pub(super) fn write(&self, register: u8, byte: u8) -> io::Result<Vec<u8>> {
        let mut uart = self.uart();
        uart.write(register, byte).map_err(io::Error::other)?;
        Ok(mem::take(uart.writer_mut()))
    }

    /// Handles the guest's read from a register.
    pub(super) fn read(&self, register: u8) -> u8 {
        let byte = self.uart().read(register);
        self.has_room.notify_one();
        byte
    }

    /// Gives the guest as many of the bytes as there is room for, and returns their number. Waits a
    /// short time for room.
    pub(super) fn receive(&self, bytes: &[u8]) -> io::Result<usize> {
        let is_full = |uart: &mut Serial<_, _, _>| uart.fifo_capacity() == 0;
        let waited = self
            .has_room
            .wait_timeout_while(self.uart(), INTERVAL, is_full);
        let (mut uart, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match uart.enqueue_raw_bytes(bytes) {
            Ok(taken) => Ok(taken),
            Err(vm_superio::serial::Error::FullFifo) => Ok(0),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn uart(&self) -> MutexGuard<'_, Serial<SerialInterrupt, NoEvents, Vec<u8>>> {
        self.uart.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
