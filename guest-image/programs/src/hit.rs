//! The interrupt that a sweep aims: what its handler saw, and whom it wakes.

use core::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU64, Ordering},
    task::Waker,
};

use dormir::arch::x86_64::{interrupt::InterruptFrame, tsc};

/// The TSC when the handler ran; 0 if it has not.
pub static AT: AtomicU64 = AtomicU64::new(0);
/// The address that was interrupted.
pub static ADDRESS: AtomicU64 = AtomicU64::new(0);

/// Whom the handler wakes.
struct WakerSlot(UnsafeCell<Option<Waker>>);

// SAFETY: one vCPU. The main line writes the slot only while the local APIC's timer is stopped, so
// the handler, an NMI perhaps, never reads it meanwhile.
unsafe impl Sync for WakerSlot {}

static SLOT: WakerSlot = WakerSlot(UnsafeCell::new(None));

/// Has the next hit wake this waker.
///
/// # Safety
///
/// The local APIC's timer must be stopped, so that no handler reads the slot meanwhile.
pub unsafe fn will_wake(waker: Waker) {
    // SAFETY: as the caller says, nobody else uses the slot.
    unsafe { *SLOT.0.get() = Some(waker) };
}

/// The handler's part; may run as an NMI.
pub fn on_hit(frame: &InterruptFrame) {
    ADDRESS.store(frame.rip, Ordering::Relaxed);
    AT.store(tsc::read(), Ordering::Relaxed);
    // SAFETY: the slot is not written while this may run.
    if let Some(waker) = unsafe { &*SLOT.0.get() } {
        waker.wake_by_ref();
    }
}
