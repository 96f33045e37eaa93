//! Errors in a guest's ELF file, as sentences.

use std::{io, ops::Range};

use dormir_abi::direct_entry::LOWEST_IMAGE_ADDRESS;

/// The maximum number of program headers. The guest image's linker script makes five, Linux has
/// ten.
pub(super) const MAX_PROGRAM_HEADERS: u16 = 128;

/// Where an image must end. If the memory is larger than this, QEMU's q35 puts the rest above 4
/// GiB.
pub(super) const IMAGE_LIMIT_MIB: u64 = 2048;

/// An error in a guest's ELF file, as the end of a sentence that begins with its path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file does not exist.
    #[error("there is no such file: check the path, or build the guest first")]
    Missing,
    /// The path is a directory, a device or a pipe.
    #[error("it is not a regular file: pass the path of the guest's ELF file")]
    NotAFile,
    /// It cannot be read.
    #[error("it cannot be read ({0}): check its permissions")]
    Unreadable(io::Error),
    /// It does not begin with the ELF magic number.
    #[error(
        "it is not an ELF file: pass the file that `cargo build --target x86_64-unknown-none` made"
    )]
    NotElf,
    /// A header or a segment lies beyond the file's end.
    #[error("it is truncated, {what} lies beyond its end: build or copy it again")]
    Truncated {
        /// What is cut off.
        what: &'static str,
    },
    /// A header contradicts the ELF format.
    #[error("its ELF headers are damaged ({0}): build or copy it again")]
    Damaged(String),
    /// It is for another kind of machine.
    #[error(
        "it is for another machine ({found}), not for 64-bit x86: build it with --target \
         x86_64-unknown-none"
    )]
    OtherMachine {
        /// The machine that it is for.
        found: String,
    },
    /// It has more program headers than any linker writes.
    #[error(
        "it has {found} program headers, and the limit is {MAX_PROGRAM_HEADERS}: link it with the \
         linker script of the guest image"
    )]
    TooManySegments {
        /// Their number; [`PN_XNUM`](object::elf::PN_XNUM), 65,535, stands for this many or more.
        found: u16,
    },
    /// It is not an executable.
    #[error("{0}")]
    NotExecutable(&'static str),
    /// It asks for a dynamic loader.
    #[error(
        "it is a program for an operating system (it asks for a dynamic loader): build it with \
         --target x86_64-unknown-none"
    )]
    ForOperatingSystem,
    /// It has no loadable segment.
    #[error(
        "it has no loadable segment: link it as an executable, with the linker script of the \
         guest image"
    )]
    NoSegments,
    /// Two segments overlap in memory.
    #[error(
        "its segments {:#x}..{:#x} and {:#x}..{:#x} overlap in memory: correct its linker script",
        first.start, first.end, second.start, second.end
    )]
    Overlap {
        /// The one with the lower address.
        first: Range<u64>,
        /// The other.
        second: Range<u64>,
    },
    /// A segment extends beyond the image's end in the linker script.
    #[error(
        "its segment {:#x}..{:#x} reaches beyond the end of the image, {end:#x}, where page tables \
         and heap are placed: `readelf -S` shows which sections lie there; give them names that \
         begin with .data., .bss. or .rodata., so that the linker script places them",
        segment.start, segment.end
    )]
    BehindTheEnd {
        /// The segment.
        segment: Range<u64>,
        /// The end of the image.
        end: u64,
    },
    /// A segment overlaps the VMM's own tables.
    #[error(
        "its segment at {start:#x} lies below {LOWEST_IMAGE_ADDRESS:#x}, where the VMM's own \
         tables are: link it to {LOWEST_IMAGE_ADDRESS:#x} or above"
    )]
    TooLow {
        /// Where it begins.
        start: u64,
    },
    /// A segment ends beyond the guest's memory.
    #[error(
        "it does not fit into {memory_mib} MiB of memory, the guest needs at least {needed_mib} \
         MiB: pass --memory {needed_mib}"
    )]
    TooLittleMemory {
        /// The guest's memory.
        memory_mib: u32,
        /// The memory that it needs.
        needed_mib: u64,
    },
    /// A segment ends beyond the memory that every VMM provides.
    #[error(
        "its segment {:#x}..{:#x} ends beyond the first {IMAGE_LIMIT_MIB} MiB: link it to a lower \
         address",
        segment.start, segment.end
    )]
    BeyondAnyMemory {
        /// The segment.
        segment: Range<u64>,
    },
    /// It has no 64-bit entry, which our VMM needs.
    #[error(
        "it has no entry for the VMM kvm (its ELF entry, {entry:#x}, is not in an executable \
         segment below 1 GiB): name its 64-bit entry with ENTRY() in the linker script"
    )]
    NoDirectEntry {
        /// The address in the ELF header.
        entry: u64,
    },
    /// It has no PVH entry, which QEMU needs.
    #[error(
        "it has no entry for QEMU (no note XEN_ELFNOTE_PHYS32_ENTRY that names an address in an \
         executable segment): link the guest image's boot code into it, or pass --vmm kvm"
    )]
    NoPvhEntry,
    /// The note of the PVH entry has an alignment with which QEMU does not find it.
    #[error(
        "its segment of notes is aligned to {found} bytes, and QEMU finds the PVH entry only in \
         one that is aligned to 4: keep other sections out of it in the linker script, or pass \
         --vmm kvm"
    )]
    NoteAlignment {
        /// The alignment in bytes.
        found: u64,
    },
}
