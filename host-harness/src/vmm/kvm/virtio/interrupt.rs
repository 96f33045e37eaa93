//! The interrupt of one device: why it was raised, and the line on which it is.

use std::sync::atomic::{AtomicU32, Ordering};

use vmm_sys_util::eventfd::EventFd;

pub(super) struct Interrupt {
    /// The register `InterruptStatus`.
    status: AtomicU32,
    /// An edge on the line for each write.
    line: EventFd,
}

impl Interrupt {
    /// `line` must not block.
    pub(super) fn new(line: EventFd) -> Self {
        Self {
            status: AtomicU32::new(0),
            line,
        }
    }

    /// Interrupts the guest for this reason.
    pub(super) fn raise(&self, reason: u32) {
        self.status.fetch_or(reason, Ordering::SeqCst);
        // It fails only if 2^64 - 2 events are pending.
        let _ = self.line.write(1);
    }

    pub(super) fn status(&self) -> u32 {
        self.status.load(Ordering::SeqCst)
    }

    pub(super) fn acknowledge(&self, reasons: u32) {
        self.status.fetch_and(!reasons, Ordering::SeqCst);
    }
}
