//! The note by which an image says that its guest speaks in [records](crate::record).
//!
//! It is an ELF note, in a `PT_NOTE` segment, behind the one with the PVH entry: QEMU reads the first. To an
//! image that has it the harness gives a [nonce](crate::record::Nonce), and takes records and the end of the
//! guest from it. An image without it is a foreign guest's: all that it writes to its console is text.

/// The name of the note, without the NUL behind it.
pub const NAME: &[u8] = b"dormir";

/// The type of the note: the version of the records.
pub const RECORDS: u32 = 1;
