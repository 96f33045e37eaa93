//! Reads and checks the guest's ELF file before anything is launched.
//!
//! The checks are the same for every VMM, so that a bad file is refused at once and with the same
//! message everywhere. They read only headers and notes, however large the file is. Exactly the
//! checked segments are loaded then: into memory by our own VMM; QEMU gets a file with only these.

mod error;
pub(super) mod fuzz;
mod headers;
mod load;
mod source;

pub use error::ImageError;
pub(super) use source::{ImageFile, Source};

use std::{ops::Range, path::Path};

use dormir_abi::direct_entry::{IDENTITY_MAPPED_BYTES, LOWEST_IMAGE_ADDRESS};
use object::{
    LittleEndian as LE,
    elf::{self, ProgramHeader64},
};

use error::IMAGE_LIMIT_MIB;
use headers::Notes;

/// The minimum memory of a guest: the VMM's first MiB, and one for the guest.
pub const MIN_MEMORY_MIB: u32 = 2;

/// The maximum memory of a guest: with the hole below 4 GiB for devices, it ends within the 64 GiB
/// that every supported processor can address.
pub const MAX_MEMORY_MIB: u32 = 60 << 10;

/// The largest file whose debug information is read.
const SYMBOLS_LIMIT: u64 = 512 << 20;

/// A loadable segment that occupies memory.
#[derive(Debug, PartialEq, Eq)]
struct Segment {
    /// Physical addresses.
    range: Range<u64>,
    flags: elf::ProgramFlags,
    /// The offset of its bytes in the file.
    offset: u64,
    /// How many of its bytes are in the file, from its start on.
    file_length: u64,
}

/// A guest's ELF file that has been checked.
#[derive(Debug)]
pub(super) struct Image<S> {
    source: S,
    entry: u64,
    notes: Notes,
    /// Sorted by address.
    segments: Vec<Segment>,
}

impl Image<ImageFile> {
    /// Opens the file, and checks everything that does not depend on the VMM or the memory size.
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        Self::read(ImageFile::open(path)?)
    }
}

impl<S: Source> Image<S> {
    /// Reads and checks an image.
    pub(super) fn read(source: S) -> Result<Self, ImageError> {
        let header = headers::file_header(&source)?;
        let program_headers = headers::program_headers(&source, &header)?;
        let mut segments = Vec::new();
        let mut notes = Notes::default();
        for program_header in &program_headers {
            match program_header.p_type.get(LE) {
                elf::PT_INTERP => return Err(ImageError::ForOperatingSystem),
                elf::PT_LOAD => segments.extend(read_segment(program_header, &source)?),
                elf::PT_NOTE => notes.read(&source, program_header)?,
                _ => {}
            }
        }
        check_type(header.e_type.get(LE))?;
        check_layout(&mut segments, notes.image_end)?;
        Ok(Self {
            source,
            entry: header.e_entry.get(LE),
            notes,
            segments,
        })
    }

    /// Checks that the image fits into a guest with this much memory.
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

    /// Returns the 64-bit entry, which our own VMM uses.
    pub(super) fn direct_entry(&self) -> Result<u64, ImageError> {
        // The entry must be in the memory that is identity-mapped at entry, where the virtual
        // address in the ELF header is also the physical one.
        if self.entry < IDENTITY_MAPPED_BYTES && self.is_executable(self.entry) {
            Ok(self.entry)
        } else {
            Err(ImageError::NoDirectEntry { entry: self.entry })
        }
    }

    /// Returns the PVH entry, which QEMU uses.
    pub(super) fn pvh_entry(&self) -> Result<u32, ImageError> {
        match self.notes.pvh_entry {
            // As QEMU reads it if it gets the file directly.
            Some((_, found)) if found != 4 => Err(ImageError::NoteAlignment { found }),
            Some((entry, _)) if self.is_executable(entry.into()) => Ok(entry),
            _ => Err(ImageError::NoPvhEntry),
        }
    }

    /// Returns whether its guest writes records.
    pub(super) fn has_records(&self) -> bool {
        self.notes.records
    }

    /// Returns the whole file, for its debug information; `None` if it cannot be read any more, or
    /// is too large.
    pub(super) fn file_bytes(&self) -> Option<Vec<u8>> {
        let size = self.source.size();
        let mut bytes = vec![
            0;
            usize::try_from(size)
                .ok()
                .filter(|_| size <= SYMBOLS_LIMIT)?
        ];
        self.source.read(&mut bytes, 0).ok()?;
        Some(bytes)
    }

    fn is_executable(&self, address: u64) -> bool {
        self.segments
            .iter()
            .any(|segment| segment.flags.contains(elf::PF_X) && segment.range.contains(&address))
    }
}

/// Checks that it is an executable linked to fixed addresses.
fn check_type(file_type: elf::FileType) -> Result<(), ImageError> {
    Err(ImageError::NotExecutable(match file_type {
        elf::ET_EXEC => return Ok(()),
        elf::ET_DYN => {
            "it is position-independent, and no loader relocates it: link it with \
             -Crelocation-model=static, or run it with --vmm hyperlight if it is a Hyperlight guest"
        }
        elf::ET_REL => {
            "it is an object file, which is not linked: link it with the linker script of the \
             guest image"
        }
        elf::ET_CORE => "it is a core dump: pass a program",
        _ => {
            "its ELF type is unknown: pass the file that `cargo build --target \
             x86_64-unknown-none` made"
        }
    }))
}

/// Reads a `PT_LOAD` header; returns `None` if it occupies no memory.
fn read_segment(
    header: &ProgramHeader64<LE>,
    source: &impl Source,
) -> Result<Option<Segment>, ImageError> {
    let (start, size) = (header.p_paddr.get(LE), header.p_memsz.get(LE));
    let (offset, file_length) = (header.p_offset.get(LE), header.p_filesz.get(LE));
    headers::check_within(source, offset, file_length, "a loadable segment")?;
    if file_length > size {
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
        flags: header.p_flags.get(LE),
        offset,
        file_length,
    }))
}

/// Sorts the segments by address, and checks that none overlaps another, the VMM's own tables, or
/// what follows the image.
fn check_layout(segments: &mut [Segment], image_end: Option<u64>) -> Result<(), ImageError> {
    segments.sort_by_key(|segment| segment.range.start);
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
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
    match image_end {
        Some(end) if last.range.end > end => Err(ImageError::BehindTheEnd {
            segment: last.range.clone(),
            end,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
