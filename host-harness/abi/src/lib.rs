//! The interface between a guest and the harness that launches it.
//!
//! The guest image and the host harness are built for different targets and share only this crate:
//! the ports to which a guest writes, its exit codes, the records on its console, the table of
//! tests in an image, what a guest is told when it starts, and the state of the vCPU at entry under
//! the harness's own VMM.
#![no_std]

pub mod backtrace;
pub mod exit;
pub mod note;
pub mod port;
pub mod ram;
pub mod record;
pub mod serial;
pub mod start_info;
pub mod test_table;

/// The longest command line of a guest, in bytes, without the terminating NUL.
pub const MAX_COMMAND_LINE: usize = 4095;

/// The contract of the 64-bit entry (the ELF header's `e_entry`), which only the harness's own VMM
/// uses.
///
/// The vCPU starts in 64-bit mode: CR0 `0x8001_0033`, CR4 `0x620`, EFER `0x500`, flat segments,
/// interrupts masked, the first GiB mapped one to one with 2 MiB pages, and `RDI` holding the
/// physical address of an `hvm_start_info` structure (Xen's PVH boot protocol, version 1). QEMU
/// enters at the address in the `XEN_ELFNOTE_PHYS32_ENTRY` note instead, in 32-bit protected mode,
/// with the same structure's address in `EBX`.
pub mod direct_entry {
    /// How many bytes, from address 0, are identity-mapped at entry.
    pub const IDENTITY_MAPPED_BYTES: u64 = 1 << 30;

    /// The guest's RAM below this address belongs to the VMM at entry: boot structures and page
    /// tables. An image is linked above it.
    pub const LOWEST_IMAGE_ADDRESS: u64 = 0x10_0000;
}
