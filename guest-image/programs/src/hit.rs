//! The aimed interrupt of a sweep: what its handler records, and the waker that it wakes.

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

/// The waker that the handler wakes.
struct WakerSlot(UnsafeCell<Option<Waker>>);

// SAFETY: one vCPU. The main line writes the slot only while the local APIC's timer is stopped, so
// the handler, an NMI perhaps, never reads it meanwhile.
unsafe impl Sync for WakerSlot {}

static SLOT: WakerSlot = WakerSlot(UnsafeCell::new(None));

/// Makes the next hit wake this waker.
///
/// # Safety
///
/// The local APIC's timer must be stopped, so that no handler reads the slot meanwhile.
pub unsafe fn will_wake(waker: Waker) {
    // SAFETY: by the caller's promise no handler uses the slot meanwhile.
    unsafe { *SLOT.0.get() = Some(waker) };
}

/// The handler; it may run as an NMI.
pub fn on_hit(frame: &InterruptFrame) {
    ADDRESS.store(frame.rip, Ordering::Relaxed);
    AT.store(tsc::read(), Ordering::Relaxed);
    wake();
}

/// Wakes the waker. For handlers.
pub fn wake() {
    // SAFETY: the slot is not written while this may run.
    if let Some(waker) = unsafe { &*SLOT.0.get() } {
        waker.wake_by_ref();
    }
}
