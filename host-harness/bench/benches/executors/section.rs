//! Critical sections like those of a guest: a flag that is set, and restored afterwards.

use std::sync::atomic::{AtomicBool, Ordering, compiler_fence};

use critical_section::{Impl, RawRestoreState, set_impl};

/// Stands for the interrupt flag.
static MASKED: AtomicBool = AtomicBool::new(false);

struct OneThread;
set_impl!(OneThread);

// SAFETY: the bench enters sections on one thread only, so there is no other thread to exclude; the
// fences keep the compiler from moving accesses out of the section.
unsafe impl Impl for OneThread {
    unsafe fn acquire() -> RawRestoreState {
        let was_masked = MASKED.load(Ordering::Relaxed);
        MASKED.store(true, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        was_masked
    }

    unsafe fn release(was_masked: RawRestoreState) {
        compiler_fence(Ordering::SeqCst);
        MASKED.store(was_masked, Ordering::Relaxed);
    }
}
