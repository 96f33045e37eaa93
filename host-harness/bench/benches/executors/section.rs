//! Critical sections as a guest has them: a flag that is raised, and put back as it was.

use std::sync::atomic::{AtomicBool, Ordering, compiler_fence};

use critical_section::{Impl, RawRestoreState, set_impl};

/// In place of the interrupt flag.
static MASKED: AtomicBool = AtomicBool::new(false);

struct OneThread;
set_impl!(OneThread);

// SAFETY: the bench enters sections on one thread only, so there is nobody to hold off; the fences keep
// what is inside from being moved out by the compiler.
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
