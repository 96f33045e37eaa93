//! Critical sections for one vCPU: interrupts masked.

use critical_section::{Impl, RawRestoreState, set_impl};
use x86_64::instructions::interrupts;

/// Masks interrupts, and puts the flag back as it was: sections may be nested.
struct MaskInterrupts;
set_impl!(MaskInterrupts);

// SAFETY: on one vCPU, and outside of NMI and machine-check handlers (which must not use critical
// sections), only an interrupt handler could come between; with interrupts masked none does. The
// instructions that mask and restore are barriers for the compiler (they are not `nomem`).
unsafe impl Impl for MaskInterrupts {
    unsafe fn acquire() -> RawRestoreState {
        let enabled = interrupts::are_enabled();
        interrupts::disable();
        enabled
    }

    unsafe fn release(was_enabled: RawRestoreState) {
        if was_enabled {
            interrupts::enable();
        }
    }
}
