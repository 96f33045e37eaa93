//! Tables as the attributes make them, and damaged ones.

use object::{
    U16, U32, U64,
    elf::{self, FileHeader64, ProgramHeader64, SectionHeader64},
    pod::bytes_of,
};

use super::*;

/// Where the file is loaded.
const ADDRESS: u64 = 0x20_0000;

const PROGRAM: &str = "format=1\0version=0.1.0\0";

/// Makes a file of one segment, in which the table and then the descriptions lie.
fn file(descriptions: &[&str], change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    const HEADERS: u64 = (size_of::<FileHeader64<LE>>() + size_of::<ProgramHeader64<LE>>()) as u64;
    let mut text_at = ADDRESS + HEADERS + (descriptions.len() * ENTRY_BYTES) as u64;
    let mut table = Vec::new();
    for description in descriptions {
        for word in [text_at, description.len() as u64, 0] {
            table.extend(word.to_le_bytes());
        }
        text_at += description.len() as u64;
    }
    change(&mut table);
    let names = b"\0dormir_tests\0";
    let content = [&table, descriptions.concat().as_bytes(), names].concat();
    let (names_at, sections_at) = (
        HEADERS + (content.len() - names.len()) as u64,
        HEADERS + content.len() as u64,
    );
    let header = FileHeader64 {
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
        e_entry: U64::new(LE, ADDRESS),
        e_phoff: U64::new(LE, size_of::<FileHeader64<LE>>() as u64),
        e_shoff: U64::new(LE, sections_at),
        e_flags: U32::default(),
        e_ehsize: U16::new(LE, size_of::<FileHeader64<LE>>() as u16),
        e_phentsize: U16::new(LE, size_of::<ProgramHeader64<LE>>() as u16),
        e_phnum: U16::new(LE, 1),
        e_shentsize: U16::new(LE, size_of::<SectionHeader64<LE>>() as u16),
        e_shnum: U16::new(LE, 3),
        e_shstrndx: U16::new(LE, elf::SymbolSection(2)),
    };
    let segment = ProgramHeader64 {
        p_type: U32::new(LE, elf::PT_LOAD),
        p_flags: U32::new(LE, elf::PF_R),
        p_offset: U64::default(),
        p_vaddr: U64::new(LE, ADDRESS),
        p_paddr: U64::new(LE, ADDRESS),
        p_filesz: U64::new(LE, sections_at),
        p_memsz: U64::new(LE, sections_at),
        p_align: U64::new(LE, 8),
    };
    let section = |name, kind, offset, size: usize| SectionHeader64 {
        sh_name: U32::new(LE, name),
        sh_type: U32::new(LE, kind),
        sh_flags: U64::default(),
        sh_addr: U64::default(),
        sh_offset: U64::new(LE, offset),
        sh_size: U64::new(LE, size as u64),
        sh_link: U32::default(),
        sh_info: U32::default(),
        sh_addralign: U64::new(LE, 1),
        sh_entsize: U64::default(),
    };
    let sections = [
        section(0, elf::SHT_NULL, 0, 0),
        section(1, elf::SHT_PROGBITS, HEADERS, table.len()),
        section(0, elf::SHT_STRTAB, names_at, names.len()),
    ];
    let mut bytes = [bytes_of(&header), bytes_of(&segment), &content].concat();
    for section in &sections {
        bytes.extend(bytes_of(section));
    }
    bytes
}

fn refusal(descriptions: &[&str]) -> String {
    let error = read(&*file(descriptions, |_| {})).expect_err("it is refused");
    error.to_string()
}

#[test]
fn tests_are_listed_by_name_with_their_index() {
    let tests = read(&*file(
        &[
            "name=guest::b::second\0ignore=slow\0timeout_ms=1500\0",
            PROGRAM,
            "name=guest::a\0should_panic=a=b\0",
        ],
        |_| {},
    ));
    let tests = tests.expect("a table").expect("tests");
    assert_eq!(
        tests,
        [
            GuestTest {
                program: "guest".into(),
                name: "a".into(),
                index: 2,
                is_ignored: false,
                should_panic: Some("a=b".into()),
                timeout: None,
            },
            GuestTest {
                program: "guest".into(),
                name: "b::second".into(),
                index: 0,
                is_ignored: true,
                should_panic: None,
                timeout: Some(Duration::from_millis(1500)),
            },
        ]
    );
}

#[test]
fn a_test_program_may_have_no_tests() {
    assert_eq!(read(&*file(&[PROGRAM], |_| {})), Ok(Some(Vec::new())));
}

#[test]
fn any_other_file_is_no_test_program() {
    assert_eq!(read(&*file(&[], |_| {})), Ok(None));
    for bytes in [&b""[..], b"#!/bin/sh\n", &elf::ELFMAG] {
        assert_eq!(read(bytes), Ok(None));
    }
}

#[test]
fn another_version_is_named_beside_our_own() {
    let sentence = refusal(&["format=2\0version=9.8.7\0", "name=a::b\0"]);
    for version in ["dormir-guest 9.8.7", env!("CARGO_PKG_VERSION")] {
        assert!(sentence.contains(version), "{sentence}");
    }
}

#[test]
fn what_cannot_be_run_by_name_is_refused() {
    for (descriptions, part) in [
        (
            &[PROGRAM, "name=a::x\0", "name=b::x\0"][..],
            "two tests are named `x`",
        ),
        (&["name=a::x\0"], "test_main!"),
        (&[PROGRAM, PROGRAM], "two programs"),
        (&[PROGRAM, "name=x\0"], "not a test's name"),
        (&[PROGRAM, "ignore=\0"], "not a test's name"),
        (&[PROGRAM, "name=a::\x1b[2J\0"], "not a test's name"),
        (&[PROGRAM, "name=a::../x\0"], "not a test's name"),
        (&[PROGRAM, "name=/::x\0"], "not a test's name"),
        (&[PROGRAM, "name=a::x\0timeout_ms=soon\0"], "no number"),
    ] {
        let sentence = refusal(descriptions);
        assert!(sentence.contains(part), "{descriptions:?}: {sentence}");
        assert!(!sentence.contains('\x1b'), "{sentence}");
    }
}

#[test]
fn what_a_file_claims_beyond_the_limits_is_not_read() {
    let mut huge = file(&[PROGRAM], |_| {});
    let section = huge.len() - 2 * size_of::<SectionHeader64<LE>>();
    let size = section + std::mem::offset_of!(SectionHeader64<LE>, sh_size);
    huge[size..size + 8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    let refused = read(&*huge).expect_err("it is refused");
    assert!(
        refused.to_string().contains("larger than any table"),
        "{refused}"
    );
}

#[test]
fn a_damaged_table_is_refused() {
    let cut = |table: &mut Vec<u8>| table.truncate(ENTRY_BYTES - 1);
    let far = |table: &mut Vec<u8>| table[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let long = |table: &mut Vec<u8>| table[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    for change in [&cut as &dyn Fn(&mut Vec<u8>), &far, &long] {
        let refused = read(&*file(&[PROGRAM], change));
        assert!(
            matches!(refused, Err(TestTableError::Damaged(_))),
            "{refused:?}"
        );
    }
}
