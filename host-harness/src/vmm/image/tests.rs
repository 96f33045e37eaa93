//! One small ELF file for each thing that can be wrong with one.

use std::{fs, io::Write, os::unix::fs::PermissionsExt, process::Command, time::Instant};

use object::{LittleEndian as LE, U16, U32, U64, elf};
use tempfile::NamedTempFile;

use super::*;

#[path = "../../../tests/vmm/small_elf.rs"]
pub(super) mod small_elf;

use small_elf::{CODE_ADDRESS, SmallElf};

const HALT: &[u8] = &[0xf4];
const MIB: u64 = 1 << 20;

fn open(bytes: &[u8]) -> Result<Image<ImageFile>, ImageError> {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Image::open(file.path())
}

fn refusal(file: &SmallElf) -> ImageError {
    open(&file.bytes()).expect_err("the file is refused")
}

#[test]
fn a_guest_with_both_entries_is_accepted() {
    let image = open(&SmallElf::new(HALT).bytes()).unwrap();
    assert_eq!(image.direct_entry().unwrap(), CODE_ADDRESS);
    assert_eq!(u64::from(image.pvh_entry().unwrap()), CODE_ADDRESS);
    image.check_memory(2).unwrap();
}

#[test]
fn a_file_that_does_not_exist_is_missing() {
    for path in ["/nonexistent/guest", "/dev/null/guest"] {
        let error = Image::open(Path::new(path)).unwrap_err();
        assert!(matches!(error, ImageError::Missing), "{error:?}");
    }
}

#[test]
fn a_directory_a_pipe_and_a_device_are_refused_and_do_not_block() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    for path in [directory.path(), &pipe, Path::new("/dev/zero")] {
        let error = Image::open(path).unwrap_err();
        assert!(matches!(error, ImageError::NotAFile), "{error:?}");
    }
}

#[test]
fn a_file_without_permission_is_unreadable() {
    let file = NamedTempFile::new().unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o000)).unwrap();
    match Image::open(file.path()) {
        Err(ImageError::Unreadable(_)) => {}
        // Root reads everything, and then finds the file empty.
        Err(ImageError::NotElf) => assert!(fs::File::open(file.path()).is_ok()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn other_files_are_not_elf() {
    for bytes in [
        &b""[..],
        b"\x7f",
        b"#!/bin/sh\n",
        b"\x7fELG and more",
        &[0; 4096],
    ] {
        let error = open(bytes).unwrap_err();
        assert!(matches!(error, ImageError::NotElf), "{error:?}");
    }
}

#[test]
fn a_huge_file_is_refused_at_once() {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(64 << 30).unwrap();
    let started = Instant::now();
    assert!(Image::open(file.path()).is_err());
    assert!(started.elapsed().as_secs() < 1);
}

#[test]
fn a_file_cut_anywhere_is_truncated() {
    let whole = SmallElf::new(&[0xf4; 32]).bytes();
    for length in 4..whole.len() {
        let error = open(&whole[..length]).unwrap_err();
        assert!(
            matches!(error, ImageError::Truncated { .. }),
            "cut at {length}: {error:?}"
        );
    }
}

#[test]
fn a_file_for_another_machine_is_refused() {
    let mut files = [const { None }; 3].map(|_: Option<()>| SmallElf::new(HALT));
    files[0].header.e_ident.class = elf::ELFCLASS32;
    files[1].header.e_ident.data = elf::ELFDATA2MSB;
    files[2].header.e_machine = U16::new(LE, elf::EM_AARCH64);
    for (file, found) in files
        .iter()
        .zip(["32-bit", "big-endian", "ELF machine number 183"])
    {
        let error = refusal(file);
        assert!(
            matches!(error, ImageError::OtherMachine { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(found), "{error}");
    }
}

#[test]
fn a_program_of_this_system_is_refused() {
    let own = std::env::current_exe().unwrap();
    let error = Image::open(&own).unwrap_err();
    assert!(matches!(error, ImageError::ForOperatingSystem), "{error:?}");
}

#[test]
fn nothing_to_load_is_refused() {
    let mut file = SmallElf::new(HALT);
    file.segments.clear();
    assert!(matches!(refusal(&file), ImageError::NoSegments));

    let mut file = SmallElf::new(HALT);
    file.segments.remove(0);
    assert!(matches!(refusal(&file), ImageError::NoSegments));

    let empty = SmallElf::new(&[]);
    assert!(matches!(refusal(&empty), ImageError::NoSegments));
}

#[test]
fn overlapping_segments_are_refused_in_any_order() {
    for address in [CODE_ADDRESS - 4, CODE_ADDRESS, CODE_ADDRESS + 4] {
        let mut file = SmallElf::new(&[0xf4; 8]);
        // So that the lower one is not too low.
        for (header, _) in &mut file.segments {
            header.p_paddr = U64::new(LE, CODE_ADDRESS + MIB);
        }
        file.push(elf::PT_LOAD, elf::PF_R, address + MIB, &[0; 8]);
        let error = refusal(&file);
        assert!(matches!(error, ImageError::Overlap { .. }), "{error:?}");
    }
}

#[test]
fn memory_that_the_file_does_not_fill_overlaps_too() {
    let mut file = SmallElf::new(HALT);
    file.segments[0].0.p_memsz = U64::new(LE, 0x1001);
    file.push(elf::PT_LOAD, elf::PF_R, CODE_ADDRESS + 0x1000, &[0]);
    let error = refusal(&file).to_string();
    assert!(error.contains("0x100000..0x101001"), "{error}");
    assert!(error.contains("0x101000..0x101001"), "{error}");
}

#[test]
fn segments_that_touch_are_accepted() {
    let mut file = SmallElf::new(&[0xf4; 8]);
    file.push(elf::PT_LOAD, elf::PF_R, CODE_ADDRESS + 8, &[0; 8]);
    open(&file.bytes()).unwrap();
}

#[test]
fn a_segment_among_the_vmms_tables_is_refused() {
    let mut file = SmallElf::new(HALT);
    file.push(elf::PT_LOAD, elf::PF_R, LOWEST_IMAGE_ADDRESS - 1, &[0]);
    let error = refusal(&file);
    assert!(
        matches!(error, ImageError::TooLow { start: 0xf_ffff }),
        "{error:?}"
    );
}

#[test]
fn the_error_names_the_memory_that_a_guest_needs() {
    let mut file = SmallElf::new(HALT);
    file.segments[0].0.p_memsz = U64::new(LE, 8 * MIB + 1);
    let image = open(&file.bytes()).unwrap();
    image.check_memory(10).unwrap();
    let error = image.check_memory(9).unwrap_err();
    assert!(error.to_string().contains("pass --memory 10"), "{error}");
}

#[test]
fn a_segment_beyond_any_memory_is_refused_with_any() {
    let mut file = SmallElf::new(HALT);
    file.push(elf::PT_LOAD, elf::PF_R, 0xffff_ffff_8000_0000, &[0]);
    let image = open(&file.bytes()).unwrap();
    let error = image.check_memory(MAX_MEMORY_MIB).unwrap_err();
    assert!(
        matches!(error, ImageError::BeyondAnyMemory { .. }),
        "{error:?}"
    );
}

#[test]
fn headers_that_make_no_sense_are_damaged() {
    let mut wraps = SmallElf::new(HALT);
    wraps.push(elf::PT_LOAD, elf::PF_R, u64::MAX, &[0; 2]);
    let mut larger_in_file = SmallElf::new(HALT);
    larger_in_file.segments[0].0.p_memsz = U64::default();
    let mut odd_table = SmallElf::new(HALT);
    odd_table.header.e_phentsize = U16::new(LE, 7);
    for file in [wraps, larger_in_file, odd_table] {
        let error = refusal(&file);
        assert!(matches!(error, ImageError::Damaged(_)), "{error:?}");
    }
}

#[test]
fn an_entry_outside_the_code_is_refused_by_our_vmm() {
    let mut elsewhere = SmallElf::new(HALT);
    elsewhere.header.e_entry = U64::new(LE, CODE_ADDRESS + 1);
    let mut data = SmallElf::new(HALT);
    data.segments[0].0.p_flags = U32::new(LE, elf::PF_R);
    let mut unmapped = SmallElf::new(HALT);
    unmapped.push(elf::PT_LOAD, elf::PF_X, IDENTITY_MAPPED_BYTES, HALT);
    unmapped.header.e_entry = U64::new(LE, IDENTITY_MAPPED_BYTES);
    for file in [elsewhere, data, unmapped] {
        let error = open(&file.bytes()).unwrap().direct_entry().unwrap_err();
        assert!(
            matches!(error, ImageError::NoDirectEntry { .. }),
            "{error:?}"
        );
    }
}

#[test]
fn without_a_note_that_names_code_there_is_no_entry_for_qemu() {
    let mut none = SmallElf::new(HALT);
    none.segments.pop();
    let mut other_type = SmallElf::new(HALT);
    other_type.segments[1].1[8] = 17;
    let mut other_name = SmallElf::new(HALT);
    other_name.segments[1].1[12] = b'Y';
    let mut elsewhere = SmallElf::new(HALT);
    elsewhere.segments[1].1[16] = 1;
    for file in [none, other_type, other_name, elsewhere] {
        let image = open(&file.bytes()).unwrap();
        let error = image.pvh_entry().unwrap_err();
        assert!(matches!(error, ImageError::NoPvhEntry), "{error:?}");
    }
}

/// A note of eight bytes.
fn note(owner: &[u8; 8], kind: u32, value: u64) -> Vec<u8> {
    let words = [7, 8, kind].map(u32::to_le_bytes);
    [words.as_flattened(), owner, &value.to_le_bytes()].concat()
}

#[test]
fn what_reaches_beyond_the_images_end_is_refused() {
    let with_end = |end| {
        let mut file = SmallElf::new(&[0xf4; 8]);
        let end = note(b"dormir\0\0", dormir_abi::note::IMAGE_END, end);
        file.segments[1].1.extend(end);
        file
    };
    open(&with_end(CODE_ADDRESS + 8).bytes()).unwrap();
    let error = refusal(&with_end(CODE_ADDRESS + 7)).to_string();
    assert!(
        error.contains("0x100000..0x100008 reaches beyond the end of the image, 0x100007"),
        "{error}"
    );
}

#[test]
fn an_alignment_in_which_qemu_finds_no_note_is_refused() {
    let mut file = SmallElf::new(HALT);
    file.segments[1].0.p_align = U64::new(LE, 8);
    let image = open(&file.bytes()).unwrap();
    let error = image.pvh_entry().unwrap_err();
    assert!(matches!(error, ImageError::NoteAlignment { found: 8 }));
    image.direct_entry().unwrap();
}

#[test]
fn headers_beyond_the_limit_are_refused_at_once() {
    // As many notes, of as many bytes, as take two minutes to read one by one.
    let mut file = SmallElf::new(HALT);
    let (header, _) = file.segments.pop().unwrap();
    file.segments
        .extend((0..2000).map(|_| (header, Vec::new())));
    let mut bytes = file.bytes();
    bytes.resize(bytes.len() + (5 << 20), 0);
    for index in 1..2000 {
        let at = 64 + 56 * index;
        let offset = (64 + 56 * 2001 + 4 * index) as u64;
        bytes[at + 8..at + 16].copy_from_slice(&offset.to_le_bytes());
        bytes[at + 32..at + 40].copy_from_slice(&MIB.to_le_bytes());
    }
    let started = Instant::now();
    let error = open(&bytes).unwrap_err();
    assert!(matches!(error, ImageError::TooManySegments { found: 2001 }));

    // As many as are let through: their notes are too many, and then not looked at.
    bytes[56] = 128;
    bytes[57] = 0;
    let image = open(&bytes).unwrap();
    assert!(matches!(image.pvh_entry(), Err(ImageError::NoPvhEntry)));
    assert!(started.elapsed().as_secs() < 1);
}

#[test]
fn a_number_of_headers_stored_elsewhere_is_refused() {
    let mut bytes = SmallElf::new(HALT).bytes();
    bytes[56..58].copy_from_slice(&u16::MAX.to_le_bytes());
    let error = open(&bytes).unwrap_err();
    assert!(matches!(
        error,
        ImageError::TooManySegments { found: 65535 }
    ));
}

#[test]
fn only_an_executable_is_accepted() {
    for (kind, word) in [
        (elf::ET_DYN, "-Crelocation-model=static"),
        (elf::ET_REL, "object file"),
        (elf::ET_CORE, "core dump"),
        (elf::ET_NONE, "unknown"),
    ] {
        let mut file = SmallElf::new(HALT);
        file.header.e_type = U16::new(LE, kind);
        let error = refusal(&file);
        assert!(matches!(error, ImageError::NotExecutable(_)), "{error:?}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn the_pvh_note_is_found_behind_others() {
    let mut file = SmallElf::new(HALT);
    let pvh = file.segments[1].1.clone();
    let mut notes = Vec::new();
    for word in [4, 5, 1, u32::from_le_bytes(*b"GNU\0"), 0, 0] {
        notes.extend(word.to_le_bytes());
    }
    notes.extend(pvh);
    file.segments[1].1 = notes;
    open(&file.bytes()).unwrap().pvh_entry().unwrap();
}

#[test]
fn dormirs_note_announces_records() {
    let mut file = SmallElf::new(&[0xf4]);
    assert!(!open(&file.bytes()).unwrap().has_records());
    file.say_that_there_are_records();
    let image = open(&file.bytes()).unwrap();
    assert!(image.has_records());
    image.pvh_entry().unwrap();
}
