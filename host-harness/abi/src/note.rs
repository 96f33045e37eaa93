//! The notes of an image that `dormir-guest` boots: ELF notes, in a `PT_NOTE` segment, behind the one with the PVH
//! entry, since QEMU reads the first.

/// Their owner's name, without the NUL behind it.
pub const NAME: &[u8] = b"dormir";

/// The type of the note by which an image says that its guest speaks in [records](crate::record); it is the
/// version of the records.
///
/// To an image that has it the harness gives a [nonce](crate::record::Nonce), and takes records and the end of
/// the guest from it. An image without it is a foreign guest's: all that it writes to its console is text.
pub const RECORDS: u32 = 1;

/// The type of the note in which the linker script says where the image ends: eight bytes, an address. Memory from
/// there on is the guest's to use, so no segment may reach beyond it.
pub const IMAGE_END: u32 = 2;
