//! ELF files of a few bytes, for guests in machine code.

use object::{
    LittleEndian as LE, U16, U32, U64,
    elf::{self, FileHeader64, ProgramHeader64},
    pod::bytes_of,
};

/// Where [`SmallElf::new`] puts the code.
pub(crate) const CODE_ADDRESS: u64 = 0x10_0000;

/// An ELF file that can be made invalid before it is written.
#[derive(Clone)]
pub(crate) struct SmallElf {
    pub(crate) header: FileHeader64<LE>,
    /// Program headers and their contents. Offsets and sizes in the file are set when it is
    /// written.
    pub(crate) segments: Vec<(ProgramHeader64<LE>, Vec<u8>)>,
}

impl SmallElf {
    /// Makes a guest with one segment of `code`, which every VMM enters at its first byte: so the
    /// code must mean the same in 32-bit and in 64-bit mode.
    pub(crate) fn new(code: &[u8]) -> Self {
        let mut note = Vec::new();
        for word in [4, 4, 18, u32::from_le_bytes(*b"Xen\0"), CODE_ADDRESS as u32] {
            note.extend(word.to_le_bytes());
        }
        let mut file = Self {
            header: FileHeader64 {
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
                e_version: U32::new(LE, 1),
                e_entry: U64::new(LE, CODE_ADDRESS),
                e_phoff: U64::new(LE, size_of::<FileHeader64<LE>>() as u64),
                e_shoff: U64::default(),
                e_flags: U32::default(),
                e_ehsize: U16::new(LE, size_of::<FileHeader64<LE>>() as u16),
                e_phentsize: U16::new(LE, size_of::<ProgramHeader64<LE>>() as u16),
                e_phnum: U16::default(),
                e_shentsize: U16::default(),
                e_shnum: U16::default(),
                e_shstrndx: U16::default(),
            },
            segments: Vec::new(),
        };
        file.push(elf::PT_LOAD, elf::PF_R | elf::PF_X, CODE_ADDRESS, code);
        file.push(elf::PT_NOTE, elf::PF_R, 0, &note);
        file
    }

    /// Adds dormir's note to the one with the PVH entry.
    pub(crate) fn say_that_there_are_records(&mut self) {
        let (_, notes) = self.segments.last_mut().expect("the notes");
        let name = [dormir_abi::note::NAME, b"\0"].concat();
        for word in [name.len() as u32, 0, dormir_abi::note::RECORDS] {
            notes.extend(word.to_le_bytes());
        }
        notes.extend(name);
        notes.resize(notes.len().next_multiple_of(4), 0);
    }

    /// Adds a segment whose physical and virtual address are the same.
    pub(crate) fn push(
        &mut self,
        kind: elf::ProgramType,
        flags: elf::ProgramFlags,
        address: u64,
        content: &[u8],
    ) {
        let header = ProgramHeader64 {
            p_type: U32::new(LE, kind),
            p_flags: U32::new(LE, flags),
            p_offset: U64::default(),
            p_vaddr: U64::new(LE, address),
            p_paddr: U64::new(LE, address),
            p_filesz: U64::default(),
            p_memsz: U64::new(LE, content.len() as u64),
            p_align: U64::new(LE, 4),
        };
        self.segments.push((header, content.to_vec()));
    }

    /// Returns the file's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut header = self.header;
        header.e_phnum = U16::new(LE, self.segments.len() as u16);
        let mut bytes = bytes_of(&header).to_vec();
        let mut contents: Vec<u8> = Vec::new();
        let table_end = bytes.len() + self.segments.len() * size_of::<ProgramHeader64<LE>>();
        for (header, content) in &self.segments {
            let mut header = *header;
            header.p_offset = U64::new(LE, (table_end + contents.len()) as u64);
            header.p_filesz = U64::new(LE, content.len() as u64);
            bytes.extend(bytes_of(&header));
            contents.extend(content);
        }
        bytes.extend(contents);
        bytes
    }
}
