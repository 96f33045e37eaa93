//! Loads an image: the segments that were checked, and nothing else of the file.

use std::io::{self, Write};

use object::{
    LittleEndian as LE, U16, U32, U64,
    elf::{self, FileHeader64, ProgramHeader64},
    pod::bytes_of,
};

use super::{
    Image, Source,
    headers::{Notes, PVH_NOTE_SIZE},
};
use crate::vmm::{
    error::RunError,
    limit::{Limit, Unstarted},
};

/// How much is read at once: the time limit and the stop token are checked between two reads.
const PIECE: u64 = 1 << 20;

impl<S: Source> Image<S> {
    /// Reads the segments in the order of their addresses, and passes each piece to `put`: its
    /// address and its bytes. The rest of a segment that is larger in memory than in the file is
    /// zero.
    pub(in crate::vmm) fn load(
        &self,
        limit: &Limit<'_>,
        mut put: impl FnMut(u64, &[u8]) -> Result<(), String>,
    ) -> Result<(), Unstarted> {
        let mut piece = Vec::new();
        for segment in &self.segments {
            let mut done = 0;
            while done < segment.file_length {
                limit.check()?;
                piece.resize((segment.file_length - done).min(PIECE) as usize, 0);
                self.source
                    .read(&mut piece, segment.offset + done)
                    .map_err(not_read)?;
                put(segment.range.start + done, &piece).map_err(RunError::NotLoaded)?;
                done += piece.len() as u64;
            }
        }
        Ok(())
    }

    /// Writes an ELF file with these segments and a note that names this entry, for a loader that
    /// parses the file itself: it sees nothing that was not checked.
    pub(in crate::vmm) fn write_elf(
        &self,
        pvh_entry: u32,
        limit: &Limit<'_>,
        out: &mut impl Write,
    ) -> Result<(), Unstarted> {
        let table = (1 + self.segments.len()) * size_of::<ProgramHeader64<LE>>();
        let mut offset = (size_of::<FileHeader64<LE>>() + table) as u64;
        let mut headers = bytes_of(&self.file_header()).to_vec();
        headers.extend(bytes_of(&ProgramHeader64 {
            p_type: U32::new(LE, elf::PT_NOTE),
            p_flags: U32::new(LE, elf::PF_R),
            p_offset: U64::new(LE, offset),
            p_vaddr: U64::default(),
            p_paddr: U64::default(),
            p_filesz: U64::new(LE, PVH_NOTE_SIZE as u64),
            p_memsz: U64::new(LE, PVH_NOTE_SIZE as u64),
            p_align: U64::new(LE, 4),
        }));
        offset += PVH_NOTE_SIZE as u64;
        for segment in &self.segments {
            headers.extend(bytes_of(&ProgramHeader64 {
                p_type: U32::new(LE, elf::PT_LOAD),
                p_flags: U32::new(LE, segment.flags),
                p_offset: U64::new(LE, offset),
                p_vaddr: U64::new(LE, segment.range.start),
                p_paddr: U64::new(LE, segment.range.start),
                p_filesz: U64::new(LE, segment.file_length),
                p_memsz: U64::new(LE, segment.range.end - segment.range.start),
                p_align: U64::new(LE, 1),
            }));
            offset += segment.file_length;
        }
        headers.extend(Notes::pvh(pvh_entry));
        out.write_all(&headers)
            .map_err(|error| RunError::NotLoaded(error.to_string()))?;
        self.load(limit, |_, bytes| {
            out.write_all(bytes).map_err(|error| error.to_string())
        })
    }

    fn file_header(&self) -> FileHeader64<LE> {
        let size = size_of::<FileHeader64<LE>>() as u16;
        FileHeader64 {
            e_ident: elf::Ident {
                magic: elf::ELFMAG,
                class: elf::ELFCLASS64,
                data: elf::ELFDATA2LSB,
                version: elf::EV_CURRENT,
                os_abi: elf::ELFOSABI_NONE,
                abi_version: 0,
                padding: [0; 7],
            },
            e_type: U16::new(LE, elf::ET_EXEC),
            e_machine: U16::new(LE, elf::EM_X86_64),
            e_version: U32::new(LE, elf::EV_CURRENT.0.into()),
            e_entry: U64::new(LE, self.entry),
            e_phoff: U64::new(LE, size.into()),
            e_shoff: U64::default(),
            e_flags: U32::default(),
            e_ehsize: U16::new(LE, size),
            e_phentsize: U16::new(LE, size_of::<ProgramHeader64<LE>>() as u16),
            e_phnum: U16::new(LE, 1 + self.segments.len() as u16),
            e_shentsize: U16::default(),
            e_shnum: U16::default(),
            e_shstrndx: U16::default(),
        }
    }
}

fn not_read(error: io::Error) -> RunError {
    RunError::NotLoaded(match error.kind() {
        io::ErrorKind::UnexpectedEof => "the file has been shortened meanwhile".into(),
        _ => error.to_string(),
    })
}

#[cfg(test)]
mod tests;
