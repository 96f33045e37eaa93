//! The ELF notes of an image that `dormir-guest` boots. They are in the `PT_NOTE` segment, after
//! the note with the PVH entry, since QEMU reads only the first.

/// The owner's name of the notes, without the terminating NUL.
pub const NAME: &[u8] = b"dormir";

/// The type of the note that announces [records](crate::record); it is the version of the records.
///
/// The harness passes a [nonce](crate::record::Nonce) to a guest with this note, and expects
/// records from it, also about its end. A guest without it is foreign: all its console output is
/// text.
pub const RECORDS: u32 = 1;

/// The type of the note in which the linker script stores the image's end: an address of eight
/// bytes. The guest uses the memory from there on, so no segment may extend beyond it.
pub const IMAGE_END: u32 = 2;
