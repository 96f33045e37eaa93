//! The interrupt table, as it is.

use x86_64::{instructions::tables, structures::idt::InterruptDescriptorTable};

/// Where the interrupt with this vector enters at present; it is none of the processor's exceptions.
///
/// # Safety
///
/// dormir's interrupt table is loaded, and nobody changes it meanwhile, an interrupt handler included.
#[must_use]
pub unsafe fn entry_of(vector: u8) -> u64 {
    let table = tables::sidt().base.as_ptr::<InterruptDescriptorTable>();
    // SAFETY: it is the table that is loaded, which the caller says is dormir's and not being changed.
    let table = unsafe { table.read() };
    table[vector].handler_addr().as_u64()
}
