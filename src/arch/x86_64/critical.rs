//! Critical sections for guests with one vCPU: interrupts are masked.

use critical_section::{Impl, RawRestoreState, set_impl};
use x86_64::instructions::interrupts;

/// Masks interrupts, and restores the flag afterwards, so sections may be nested.
struct MaskInterrupts;
set_impl!(MaskInterrupts);

// SAFETY: on one vCPU, only an interrupt handler could enter a section during another, and
// interrupts are masked. (NMIs and machine checks are not, so their handlers must not use critical
// sections.) The instructions that mask and restore are barriers for the compiler, since they are
// not `nomem`.
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
