//! Reads the interrupt table.

use x86_64::{instructions::tables, structures::idt::InterruptDescriptorTable};

/// Returns the address of the handler that `vector` has now. `vector` must not be that of a
/// processor exception.
///
/// # Safety
///
/// dormir's interrupt table must be loaded, and must not change during the call, not even from an
/// interrupt handler.
#[must_use]
pub unsafe fn entry_of(vector: u8) -> u64 {
    let table = tables::sidt().base.as_ptr::<InterruptDescriptorTable>();
    // SAFETY: this is the loaded table; by the caller's promise it is dormir's and does not change.
    let table = unsafe { table.read() };
    table[vector].handler_addr().as_u64()
}
