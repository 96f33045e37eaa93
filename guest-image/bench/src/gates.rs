//! The interrupt table, as it is.

use x86_64::{instructions::tables, structures::idt::InterruptDescriptorTable};

/// Where the interrupt with this vector enters at present; it is none of the processor's exceptions.
#[must_use]
pub fn entry_of(vector: u8) -> u64 {
    let table = tables::sidt().base.as_ptr::<InterruptDescriptorTable>();
    // SAFETY: it is the table that is loaded, a static of dormir's, which is written by `set_handler` only: by
    // nobody as long as this copy is made.
    let table = unsafe { table.read() };
    table[vector].handler_addr().as_u64()
}
