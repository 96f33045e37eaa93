//! The guest's ELF file, read and checked before anything is launched.
//!
//! Every VMM gets the same checks, so that a wrong file is refused in the same words everywhere and
//! at once. Only headers and notes are read here, however large the file is.

use std::{fs::File, io, ops::Range, path::Path};

use dormir_abi::{
    direct_entry::{IDENTITY_MAPPED_BYTES, LOWEST_IMAGE_ADDRESS},
    note,
};
use object::{
    Endianness, ReadCache, ReadRef,
    elf::{self, FileHeader64, ProgramHeader64},
    read::elf::{FileHeader, ProgramHeader},
};

/// The least memory that a guest can have: the VMM's first MiB, and one for the guest.
pub const MIN_MEMORY_MIB: u32 = 2;

/// The most memory that a guest can have. Under our VMM it is one piece from address 0, and the last
/// quarter of the first 4 GiB belongs to devices, among them the interrupt controllers.
pub const MAX_MEMORY_MIB: u32 = 3072;

/// Where an image must end. Of a memory that is larger than this, QEMU's q35 puts the rest above
/// 4 GiB.
const IMAGE_LIMIT_MIB: u64 = 2048;

/// The type of the note that holds the address of the PVH entry (`XEN_ELFNOTE_PHYS32_ENTRY`).
const PVH_ENTRY_NOTE: u32 = 18;

/// A segment of notes that is larger than this is not one that a linker wrote; it is not read.
const NOTES_LIMIT: u64 = 1 << 20;

/// What is wrong with a guest's ELF file, as the end of a sentence that begins with its path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Nothing has this path.
    #[error("there is no such file: check the path, or build the guest first")]
    Missing,
    /// The path is a directory, a device or a pipe.
    #[error("it is not a regular file: pass the path of the guest's ELF file")]
    NotAFile,
    /// It cannot be read.
    #[error("it cannot be read ({0}): check its permissions")]
    Unreadable(io::Error),
    /// It does not begin as ELF files do.
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
        "it is for another machine ({found}), not for 64-bit x86: build it with --target x86_64-unknown-none"
    )]
    OtherMachine {
        /// Which.
        found: String,
    },
    /// It asks for a dynamic loader.
    #[error(
        "it is a program for an operating system (it asks for a dynamic loader): build it with --target x86_64-unknown-none"
    )]
    ForOperatingSystem,
    /// There is nothing to put into memory.
    #[error(
        "it has no loadable segment: link it as an executable, with the linker script of the guest image"
    )]
    NoSegments,
    /// Two segments claim the same memory.
    #[error(
        "its segments {:#x}..{:#x} and {:#x}..{:#x} overlap in memory: correct its linker script",
        first.start, first.end, second.start, second.end
    )]
    Overlap {
        /// The one that begins first.
        first: Range<u64>,
        /// The other.
        second: Range<u64>,
    },
    /// A segment lies where the VMM puts its own tables.
    #[error(
        "its segment at {start:#x} lies below {LOWEST_IMAGE_ADDRESS:#x}, where the VMM's own tables \
         are: link it to {LOWEST_IMAGE_ADDRESS:#x} or above"
    )]
    TooLow {
        /// Where it begins.
        start: u64,
    },
    /// A segment ends beyond the guest's memory.
    #[error(
        "it does not fit into {memory_mib} MiB of memory, the guest needs at least {needed_mib} MiB: \
         pass --memory {needed_mib}"
    )]
    TooLittleMemory {
        /// The memory it was to have.
        memory_mib: u32,
        /// The memory it needs.
        needed_mib: u64,
    },
    /// A segment ends where not every guest has memory, however much it is given.
    #[error(
        "its segment {:#x}..{:#x} ends beyond the first {IMAGE_LIMIT_MIB} MiB: link it to a lower \
         address",
        segment.start, segment.end
    )]
    BeyondAnyMemory {
        /// The segment.
        segment: Range<u64>,
    },
    /// There is no 64-bit entry, which our VMM needs.
    #[error(
        "it has no entry for the VMM kvm (its ELF entry, {entry:#x}, is not in an executable segment \
         below 1 GiB): name its 64-bit entry with ENTRY() in the linker script"
    )]
    NoDirectEntry {
        /// The address in the ELF header.
        entry: u64,
    },
    /// There is no PVH entry, which QEMU needs.
    #[error(
        "it has no entry for QEMU (no note XEN_ELFNOTE_PHYS32_ENTRY that names an address in an \
         executable segment): link the guest image's boot code into it, or pass --vmm kvm"
    )]
    NoPvhEntry,
}

/// A loadable segment that takes up memory.
#[derive(Debug)]
struct Segment {
    /// Physical addresses.
    range: Range<u64>,
    executable: bool,
}

/// A guest's ELF file that is fit to be loaded.
#[derive(Debug)]
pub(super) struct Image {
    /// The open file: what was checked is what is loaded, even if the path changes.
    pub(super) file: File,
    entry: u64,
    notes: Notes,
    /// In the order of their addresses.
    segments: Vec<Segment>,
}

impl Image {
    /// Opens and checks the file, as far as that depends on no VMM and no amount of memory.
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        // Asked of the path and not of the open file, because opening a pipe would wait for a writer.
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(ImageError::NotAFile);
        }
        let data = ReadCache::new(File::open(path).map_err(unreadable)?);
        let header = parse_header(&data)?;
        let endian = Endianness::Little;
        let program_headers = header
            .program_headers(endian, &data)
            .map_err(|error| header_error(header, &data, &error))?;

        let mut segments = Vec::new();
        let mut notes = Notes::default();
        for program_header in program_headers {
            match program_header.p_type(endian) {
                elf::PT_INTERP => return Err(ImageError::ForOperatingSystem),
                elf::PT_LOAD => segments.extend(read_segment(program_header, &data)?),
                elf::PT_NOTE => notes.read(program_header, &data)?,
                _ => {}
            }
        }
        check_layout(&mut segments)?;
        let entry = header.e_entry(endian);
        Ok(Self {
            file: data.into_inner(),
            entry,
            notes,
            segments,
        })
    }

    /// Checks that a guest with this much memory can hold the image.
    pub(super) fn check_memory(&self, memory_mib: u32) -> Result<(), ImageError> {
        let Some(last) = self.segments.last() else {
            return Err(ImageError::NoSegments);
        };
        let needed_mib = last.range.end.div_ceil(1 << 20);
        if needed_mib > IMAGE_LIMIT_MIB {
            return Err(ImageError::BeyondAnyMemory {
                segment: last.range.clone(),
            });
        }
        if needed_mib > u64::from(memory_mib) {
            return Err(ImageError::TooLittleMemory {
                memory_mib,
                needed_mib,
            });
        }
        Ok(())
    }

    /// The 64-bit entry, which our own VMM uses.
    pub(super) fn direct_entry(&self) -> Result<u64, ImageError> {
        // What is mapped one to one at entry bounds where the entry can be, and makes the virtual
        // address in the ELF header a physical one.
        if self.entry < IDENTITY_MAPPED_BYTES && self.is_executable(self.entry) {
            Ok(self.entry)
        } else {
            Err(ImageError::NoDirectEntry { entry: self.entry })
        }
    }

    /// Checks that there is a PVH entry, which QEMU uses.
    pub(super) fn check_pvh_entry(&self) -> Result<(), ImageError> {
        match self.notes.pvh_entry {
            Some(entry) if self.is_executable(entry) => Ok(()),
            _ => Err(ImageError::NoPvhEntry),
        }
    }

    /// Whether its guest speaks in records.
    pub(super) fn has_records(&self) -> bool {
        self.notes.records
    }

    fn is_executable(&self, address: u64) -> bool {
        self.segments
            .iter()
            .any(|segment| segment.executable && segment.range.contains(&address))
    }
}

fn unreadable(error: io::Error) -> ImageError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ImageError::Missing,
        _ => ImageError::Unreadable(error),
    }
}

/// Reads the ELF header, telling apart what the parser would call "unsupported" as a whole.
fn parse_header(data: &ReadCache<File>) -> Result<&FileHeader64<Endianness>, ImageError> {
    if data.read_bytes_at(0, 4) != Ok(&elf::ELFMAG) {
        return Err(ImageError::NotElf);
    }
    // The two bytes after the magic say how wide and in which order everything else is.
    let width_and_order = data.read_bytes_at(4, 2).unwrap_or_default();
    let other = |found: String| Err(ImageError::OtherMachine { found });
    match width_and_order {
        [class, _] if *class == elf::ELFCLASS32.0 => return other("32-bit".into()),
        [_, order] if *order == elf::ELFDATA2MSB.0 => return other("big-endian".into()),
        _ => {}
    }
    if data
        .len()
        .is_ok_and(|length| length < size_of::<FileHeader64<Endianness>>() as u64)
    {
        return Err(ImageError::Truncated {
            what: "the ELF header",
        });
    }
    let header = FileHeader64::<Endianness>::parse(data)
        .map_err(|error| ImageError::Damaged(error.to_string()))?;
    let machine = header.e_machine(Endianness::Little);
    if machine != elf::EM_X86_64 {
        return other(format!("ELF machine number {}", machine.0));
    }
    Ok(header)
}

/// Tells a table that is cut off from one that is nonsense.
fn header_error(
    header: &FileHeader64<Endianness>,
    data: &ReadCache<File>,
    error: &object::Error,
) -> ImageError {
    let endian = Endianness::Little;
    let table = u64::from(header.e_phnum(endian)) * u64::from(header.e_phentsize(endian));
    let end = header.e_phoff(endian).saturating_add(table);
    if data.len().is_ok_and(|length| end > length) {
        ImageError::Truncated {
            what: "the table of its segments",
        }
    } else {
        ImageError::Damaged(error.to_string())
    }
}

/// Reads a `PT_LOAD` header; `None` if it takes up no memory.
fn read_segment(
    header: &ProgramHeader64<Endianness>,
    data: &ReadCache<File>,
) -> Result<Option<Segment>, ImageError> {
    let endian = Endianness::Little;
    check_file_range(header, data, "a loadable segment")?;
    let (start, size) = (header.p_paddr(endian), header.p_memsz(endian));
    if header.p_filesz(endian) > size {
        return Err(ImageError::Damaged(format!(
            "the segment at {start:#x} has more bytes in the file than in memory"
        )));
    }
    if size == 0 {
        return Ok(None);
    }
    let end = start.checked_add(size).ok_or_else(|| {
        ImageError::Damaged(format!(
            "the segment at {start:#x} wraps around the end of the address space"
        ))
    })?;
    Ok(Some(Segment {
        range: start..end,
        executable: header.p_flags(endian).contains(elf::PF_X),
    }))
}

fn check_file_range(
    header: &ProgramHeader64<Endianness>,
    data: &ReadCache<File>,
    what: &'static str,
) -> Result<(), ImageError> {
    let (offset, size) = header.file_range(Endianness::Little);
    let end = offset.checked_add(size);
    if size > 0 && end.is_none_or(|end| data.len().is_ok_and(|length| end > length)) {
        return Err(ImageError::Truncated { what });
    }
    Ok(())
}

/// What an image's notes say.
#[derive(Debug, Default)]
struct Notes {
    pvh_entry: Option<u64>,
    /// There is dormir's own ([`dormir_abi::note`]).
    records: bool,
}

impl Notes {
    /// Adds those of a `PT_NOTE` segment. Of two of a kind the first counts.
    fn read(
        &mut self,
        header: &ProgramHeader64<Endianness>,
        data: &ReadCache<File>,
    ) -> Result<(), ImageError> {
        let endian = Endianness::Little;
        check_file_range(header, data, "a segment of notes")?;
        if header.p_filesz(endian) > NOTES_LIMIT {
            return Ok(());
        }
        let damaged = |error: object::Error| ImageError::Damaged(error.to_string());
        let Some(mut notes) = header.notes(endian, data).map_err(damaged)? else {
            return Ok(());
        };
        while let Some(note) = notes.next().map_err(damaged)? {
            match (note.name(), note.n_type(endian).0) {
                (b"Xen", PVH_ENTRY_NOTE) if self.pvh_entry.is_none() => {
                    // The address has four bytes, or eight of which the low ones count.
                    let address = note.desc().first_chunk();
                    self.pvh_entry = address.map(|bytes| u32::from_le_bytes(*bytes).into());
                }
                (note::NAME, note::RECORDS) => self.records = true,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Sorts the segments by address, and checks that none overlaps another or the VMM's own tables.
fn check_layout(segments: &mut [Segment]) -> Result<(), ImageError> {
    segments.sort_by_key(|segment| segment.range.start);
    let Some(first) = segments.first() else {
        return Err(ImageError::NoSegments);
    };
    if first.range.start < LOWEST_IMAGE_ADDRESS {
        return Err(ImageError::TooLow {
            start: first.range.start,
        });
    }
    for pair in segments.windows(2) {
        if pair[1].range.start < pair[0].range.end {
            return Err(ImageError::Overlap {
                first: pair[0].range.clone(),
                second: pair[1].range.clone(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
