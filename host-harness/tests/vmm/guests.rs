//! Guests in machine code. Unless noted otherwise, the code means the same in 32-bit mode, in which
//! QEMU enters it, and in 64-bit mode, in which our VMM does.

use std::{io::Write, path::Path};

use tempfile::NamedTempFile;

use crate::small_elf::SmallElf;

/// A guest in a temporary file.
pub(crate) struct GuestFile(NamedTempFile);

impl GuestFile {
    pub(crate) fn new(code: &[u8]) -> Self {
        Self(write(&SmallElf::new(code).bytes()))
    }

    /// Makes a guest whose image announces records.
    pub(crate) fn with_records(code: &[u8]) -> Self {
        let mut file = SmallElf::new(code);
        file.say_that_there_are_records();
        Self(write(&file.bytes()))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Makes a file with this content.
pub(crate) fn write(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("a few bytes of space");
    file
}

/// `mov al, byte; out 0xe9, al` for each byte.
pub(crate) fn print(text: &[u8]) -> Vec<u8> {
    text.iter()
        .flat_map(|&byte| [0xb0, byte, 0xe6, 0xe9])
        .collect()
}

/// Prints a record: `text` after the mark and the nonce, which is in the first word of the command
/// line.
pub(crate) fn record(in_rdi: bool, text: &str) -> Vec<u8> {
    let nonce_at = dormir_abi::record::NONCE_ARGUMENT.len() as u8;
    let mut code = print(&[dormir_abi::record::MARK]);
    // mov esi, [start information + 0x18]; add esi, nonce_at; mov ecx, 16
    code.extend([0x8b, if in_rdi { 0x77 } else { 0x73 }, 0x18]);
    code.extend([0x83, 0xc6, nonce_at, 0xb9, 16, 0, 0, 0]);
    // again: lodsb; out 0xe9, al; loop again
    code.extend([0xac, 0xe6, 0xe9, 0xe2, 0xfb]);
    code.extend(print(format!(" {text}\n").as_bytes()));
    code
}

/// `mov eax, value; out 0xf4, eax`, and then halts, since under QEMU the write takes effect later.
pub(crate) fn exit_with_value(value: u32) -> Vec<u8> {
    let mut code = vec![0xb8];
    code.extend(value.to_le_bytes());
    code.extend([0xe7, 0xf4, 0xf4, 0xeb, 0xfd]);
    code
}

/// `jmp` to itself.
pub(crate) const SPIN: &[u8] = &[0xeb, 0xfe];

/// `hlt`, with interrupts masked as at entry.
pub(crate) const HALT: &[u8] = &[0xf4];

/// Ends with this exit code.
pub(crate) fn exit(code: u8) -> Vec<u8> {
    exit_with_value(u32::from(code) + 0x10)
}

/// `ud2`, without an interrupt table to handle it.
pub(crate) fn triple_fault() -> Vec<u8> {
    vec![0x0f, 0x0b]
}

/// Prints `byte` `count` times and ends.
pub(crate) fn print_many(byte: u8, count: u32) -> Vec<u8> {
    // mov al, byte; mov ecx, count; again: out 0xe9, al; loop again
    let mut code = vec![0xb0, byte, 0xb9];
    code.extend(count.to_le_bytes());
    code.extend([0xe6, 0xe9, 0xe2, 0xfc]);
    code.extend(exit(0));
    code
}

/// Prints its command line and ends. Our VMM passes the start information in RDI, QEMU in EBX.
pub(crate) fn print_arguments(in_rdi: bool) -> Vec<u8> {
    // mov esi, [start information + 0x18]
    let mut code = vec![0x8b, if in_rdi { 0x77 } else { 0x73 }, 0x18];
    // again: lodsb; test al, al; jz end; out 0xe9, al; jmp again; end:
    code.extend([0xac, 0x84, 0xc0, 0x74, 0x04, 0xe6, 0xe9, 0xeb, 0xf7]);
    code.extend(exit(0));
    code
}

/// Reads the time stamp counter twice and prints `0` plus the difference's low four bits.
pub(crate) const PRINT_TSC_DIFFERENCE: &[u8] = &[
    0x0f, 0x31, // rdtsc
    0x89, 0xc3, // mov ebx, eax
    0x90, 0x90, 0x90, // nop, three times
    0x0f, 0x31, // rdtsc
    0x29, 0xd8, // sub eax, ebx
    0x24, 0x0f, // and al, 15
    0x04, b'0', // add al, '0'
    0xe6, 0xe9, // out 0xe9, al
    0xb8, 0x10, 0, 0, 0, 0xe7, 0xf4, 0xf4, 0xeb, 0xfd, // end with code 0
];

/// 64-bit: passes a console buffer with `hello`.
pub(crate) const HELLO_FROM_A_BUFFER: &[u8] = &[
    0xb8, 0x20, 0x00, 0x10, 0x00, // mov eax, 0x100020
    0x66, 0xba, 0xf0, 0x05, // mov dx, 0x5f0
    0xef, // out dx, eax
    0xb8, 0x10, 0, 0, 0, 0xe7, 0xf4, 0xf4, 0xeb, 0xfd, // end with code 0
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // up to 0x100020
    0x30, 0x00, 0x10, 0, 0, 0, 0, 0, // the address of the text
    5, 0, 0, 0, 0, 0, 0, 0, // its length
    b'h', b'e', b'l', b'l', b'o',
];

/// 64-bit: passes the address of a console buffer that does not exist.
pub(crate) const CONSOLE_BUFFER_BEYOND_MEMORY: &[u8] = &[
    0xb8, 0, 0, 0, 0x10, // mov eax, 0x10000000
    0x66, 0xba, 0xf0, 0x05, // mov dx, 0x5f0
    0xef, // out dx, eax
    0xf4,
];

/// 64-bit: asks for an interrupt from the host with the request at this address, which is valid if
/// it is [`REQUEST`]; ends with code 0 if the answer is set at once, and halts otherwise.
pub(crate) fn ask_for_interrupt(address: u32, vector: u64, delay_nanos: u64) -> Vec<u8> {
    let mut code = vec![0xbe]; // mov esi, address
    code.extend(address.to_le_bytes());
    code.extend([0x89, 0xf0]); // mov eax, esi
    code.extend([0x66, 0xba, 0xfc, 0x05]); // mov dx, 0x5fc
    code.push(0xef); // out dx, eax
    code.extend([0x48, 0x83, 0x7e, 0x10, 0x00]); // cmp qword [rsi + 16], 0
    code.extend([0x74, 0x08]); // je to the last halt
    code.extend([0xb8, 0x10, 0, 0, 0, 0xe7, 0xf4, 0xf4]); // end with code 0
    code.push(0xf4); // hlt
    code.resize(0x40, 0);
    for word in [vector, delay_nanos, 0] {
        code.extend(word.to_le_bytes());
    }
    code
}

/// The address of the request of [`ask_for_interrupt`].
pub(crate) const REQUEST: u32 = 0x10_0040;

/// Writes `hello` to COM1, and waits before each byte until the line is ready.
pub(crate) const HELLO_FROM_THE_SERIAL_LINE: &[u8] = &[
    0xbe, 0x23, 0x00, 0x10, 0x00, // mov esi, 0x100023
    0x66, 0xba, 0xfd, 0x03, // again: mov dx, 0x3fd
    0xec, // wait: in al, dx
    0xa8, 0x20, // test al, 0x20
    0x74, 0xfb, // jz wait
    0xac, // lodsb
    0x84, 0xc0, // test al, al
    0x74, 0x07, // jz end
    0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xee, // out dx, al
    0xeb, 0xeb, // jmp again
    0xb8, 0x10, 0, 0, 0, 0xe7, 0xf4, 0xf4, // end: end with code 0
    b'!', b'h', b'e', b'l', b'l', b'o', 0,
];
