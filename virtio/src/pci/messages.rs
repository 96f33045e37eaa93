//! [`Messages`]: the interrupts of a PCI device.

use alloc::sync::Arc;
use core::{
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
};

use super::TableEntry;
use crate::Interrupt;

/// The entry of the table for the queues.
pub(super) const FOR_QUEUES: u16 = 0;
/// The entry of the table for changes of the configuration.
pub(super) const FOR_CONFIGURATION: u16 = 1;

/// The interrupts of a PCI device: one message when it has used a queue, another when its
/// configuration has changed. So no register of the device tells which it was.
#[derive(Debug)]
pub struct Messages<I> {
    queues: I,
    configuration: I,
    /// The configuration has changed since the transport was asked.
    changed: Arc<AtomicBool>,
}

impl<I> Messages<I> {
    pub(super) fn new(queues: I, configuration: I) -> Self {
        Self {
            queues,
            configuration,
            changed: Arc::default(),
        }
    }

    pub(super) fn changed(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.changed)
    }
}

impl<I: Interrupt> Interrupt for Messages<I> {
    fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<u32> {
        let queues = self.queues.poll_wait(cx);
        let Poll::Ready(changes) = self.configuration.poll_wait(cx) else {
            return queues;
        };
        self.changed.store(true, Ordering::Release);
        match queues {
            Poll::Ready(uses) => Poll::Ready(uses.saturating_add(changes)),
            Poll::Pending => Poll::Ready(changes),
        }
    }
}

/// Writes the first entries of the device's table, and unmasks them (PCI Local Bus 3.0, 6.8.2.6).
///
/// # Safety
///
/// The table is mapped at these addresses, has as many entries, and nothing else writes to it.
pub(super) unsafe fn write_table(table: Range<u64>, entries: [TableEntry; 2]) {
    let words = core::ptr::with_exposed_provenance_mut::<u32>(table.start as usize);
    let values = entries.into_iter().flat_map(|entry| {
        [
            entry.address as u32,
            (entry.address >> 32) as u32,
            entry.data,
            0,
        ]
    });
    for (index, value) in values.enumerate() {
        // SAFETY: the caller guarantees that the table has room for all messages.
        let word = unsafe { words.add(index) };
        // SAFETY: the caller guarantees that it is mapped; the table is aligned to 8 bytes.
        unsafe { word.write_volatile(value) };
    }
}
