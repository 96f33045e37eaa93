//! Reads the headers and notes of an ELF file, however large the file is and whatever they claim.

use dormir_abi::note;
use object::{
    LittleEndian as LE,
    elf::{self, FileHeader64, ProgramHeader64},
    pod::{Pod, bytes_of_slice_mut, slice_from_bytes},
    read::elf::NoteIterator,
};

use super::{
    error::{ImageError, MAX_PROGRAM_HEADERS},
    source::{Source, unreadable},
};

/// How many bytes of notes are read in total. Further notes are ignored.
const NOTES_LIMIT: u64 = 64 << 10;

/// Reads the ELF header, and distinguishes files that are not ELF, for another machine, or
/// truncated.
pub(super) fn file_header(source: &impl Source) -> Result<FileHeader64<LE>, ImageError> {
    const SIZE: u64 = size_of::<FileHeader64<LE>>() as u64;
    let first = |count: u64| values::<u8>(source, 0, count.min(source.size()));
    let start = first(6)?;
    if !start.starts_with(&elf::ELFMAG) {
        return Err(ImageError::NotElf);
    }
    // The two bytes after the magic define the width and byte order of everything else.
    let other = |found: String| Err(ImageError::OtherMachine { found });
    if start.get(4) == Some(&elf::ELFCLASS32.0) {
        return other("32-bit".into());
    }
    if start.get(5) == Some(&elf::ELFDATA2MSB.0) {
        return other("big-endian".into());
    }
    if source.size() < SIZE {
        let what = "the ELF header";
        return Err(ImageError::Truncated { what });
    }
    let header = values::<FileHeader64<LE>>(source, 0, 1)?[0];
    let ident = header.e_ident;
    if ident.class != elf::ELFCLASS64
        || ident.data != elf::ELFDATA2LSB
        || ident.version != elf::EV_CURRENT
    {
        let what = "its class, byte order or version is unknown";
        return Err(ImageError::Damaged(what.into()));
    }
    let machine = header.e_machine.get(LE);
    if machine != elf::EM_X86_64 {
        return other(format!("ELF machine number {}", machine.0));
    }
    Ok(header)
}

/// Reads the program headers.
pub(super) fn program_headers(
    source: &impl Source,
    header: &FileHeader64<LE>,
) -> Result<Vec<ProgramHeader64<LE>>, ImageError> {
    let found = header.e_phnum.get(LE);
    if found > MAX_PROGRAM_HEADERS {
        return Err(ImageError::TooManySegments { found });
    }
    if found == 0 {
        return Ok(Vec::new());
    }
    let size = header.e_phentsize.get(LE);
    if usize::from(size) != size_of::<ProgramHeader64<LE>>() {
        let what = format!("a program header of {size} bytes");
        return Err(ImageError::Damaged(what));
    }
    let (offset, length) = (header.e_phoff.get(LE), u64::from(found) * u64::from(size));
    check_within(source, offset, length, "the table of its segments")?;
    values(source, offset, found.into())
}

/// Checks that the file contains this range.
pub(super) fn check_within(
    source: &impl Source,
    offset: u64,
    length: u64,
    what: &'static str,
) -> Result<(), ImageError> {
    let end = offset.checked_add(length);
    if length > 0 && end.is_none_or(|end| end > source.size()) {
        return Err(ImageError::Truncated { what });
    }
    Ok(())
}

/// Reads consecutive values from the file. The caller has checked that the file contains them.
fn values<T: Pod + Clone>(
    source: &impl Source,
    offset: u64,
    count: u64,
) -> Result<Vec<T>, ImageError> {
    // In words, so that they are aligned.
    let length = count as usize * size_of::<T>();
    let mut words = vec![0_u64; length.div_ceil(8)];
    let bytes = &mut bytes_of_slice_mut(&mut words)[..length];
    source.read(bytes, offset).map_err(unreadable)?;
    let read = slice_from_bytes(bytes, count as usize);
    let (values, _) =
        read.map_err(|()| ImageError::Damaged("its headers are not aligned".into()))?;
    Ok(values.to_vec())
}

/// The contents of an image's notes.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// How many bytes of notes have been read.
    read: u64,
    /// The address of the PVH entry, and the alignment of its segment of notes.
    pub(super) pvh_entry: Option<(u32, u64)>,
    /// The end of the image, according to its linker script.
    pub(super) image_end: Option<u64>,
    /// Whether the guest writes records: there is the note [`dormir_abi::note::RECORDS`].
    pub(super) records: bool,
}

/// The type of the note that holds the address of the PVH entry (`XEN_ELFNOTE_PHYS32_ENTRY`).
const PVH_ENTRY_NOTE: u32 = 18;

impl Notes {
    /// Reads a `PT_NOTE` segment, unless the total would exceed the limit.
    pub(super) fn read(
        &mut self,
        source: &impl Source,
        header: &ProgramHeader64<LE>,
    ) -> Result<(), ImageError> {
        let (offset, length) = (header.p_offset.get(LE), header.p_filesz.get(LE));
        check_within(source, offset, length, "a segment of notes")?;
        if length > NOTES_LIMIT - self.read {
            return Ok(());
        }
        self.read += length;
        let bytes = values::<u8>(source, offset, length)?;
        let damaged = |error: object::Error| ImageError::Damaged(error.to_string());
        let align = header.p_align.get(LE);
        let mut notes =
            NoteIterator::<FileHeader64<LE>>::new(LE, align, &bytes).map_err(damaged)?;
        while let Some(found) = notes.next().map_err(damaged)? {
            match (found.name(), found.n_type(LE).0) {
                // The address has four bytes, or eight, of which the low four count.
                (b"Xen", PVH_ENTRY_NOTE) if self.pvh_entry.is_none() => {
                    let entry = found.desc().first_chunk().copied().map(u32::from_le_bytes);
                    self.pvh_entry = entry.map(|entry| (entry, align));
                }
                (note::NAME, note::IMAGE_END) => {
                    self.image_end = found.desc().first_chunk().copied().map(u64::from_le_bytes);
                }
                (note::NAME, note::RECORDS) => self.records = true,
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns the bytes of a note that names the PVH entry.
    pub(super) fn pvh(entry: u32) -> [u8; PVH_NOTE_SIZE] {
        let mut note = [0; PVH_NOTE_SIZE];
        let words = [4, 4, PVH_ENTRY_NOTE, u32::from_le_bytes(*b"Xen\0"), entry];
        for (bytes, word) in note.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        note
    }
}

/// The size of such a note: three header words, the name, and the address.
pub(super) const PVH_NOTE_SIZE: usize = 20;
