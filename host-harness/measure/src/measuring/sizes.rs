//! Measures how large guest programs are.

use crate::document::sizes::{ImageSize, PROGRAMS};
use dormir_harness::guest::Images;
use object::{
    Endianness,
    elf::{self, FileHeader64},
    read::elf::{FileHeader, SectionHeader},
};
use std::{fs, io, path::Path};

/// A program's file cannot be measured.
#[derive(Debug, thiserror::Error)]
#[error("the size of the guest program `{program}` cannot be read ({reason}): build it again")]
pub(crate) struct SizeError {
    program: String,
    reason: String,
}

/// Measures the programs that are there.
///
/// # Errors
///
/// A program was not built, or its file cannot be read.
pub(crate) fn measure(images: &Images) -> Result<Vec<ImageSize>, Box<dyn std::error::Error>> {
    PROGRAMS
        .iter()
        .map(|program| of_program(program.name, images))
        .collect()
}

/// Measures one program.
///
/// # Errors
///
/// It was not built, or its file cannot be read.
pub(crate) fn of_program(
    name: &str,
    images: &Images,
) -> Result<ImageSize, Box<dyn std::error::Error>> {
    Ok(read(name, images.get(name)?)?)
}

fn read(program: &str, elf: &Path) -> Result<ImageSize, SizeError> {
    let unmeasurable = |reason: String| SizeError {
        program: program.to_owned(),
        reason,
    };
    let bytes = fs::read(elf).map_err(|error: io::Error| unmeasurable(error.to_string()))?;
    of_bytes(program, &bytes).map_err(|error| unmeasurable(error.to_string()))
}

fn of_bytes(program: &str, bytes: &[u8]) -> object::read::Result<ImageSize> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let mut size = ImageSize {
        program: program.to_owned(),
        code: 0,
        constants: 0,
        data: 0,
        zeroed: 0,
    };
    for section in header.section_headers(endian, bytes)? {
        let flags = section.sh_flags(endian);
        let has = |flag: elf::SectionFlags| flags.0 & flag.0 != 0;
        if !has(elf::SHF_ALLOC) {
            continue;
        }
        let part = if section.sh_type(endian) == elf::SHT_NOBITS {
            &mut size.zeroed
        } else if has(elf::SHF_EXECINSTR) {
            &mut size.code
        } else if has(elf::SHF_WRITE) {
            &mut size.data
        } else {
            &mut size.constants
        };
        *part += section.sh_size(endian);
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This test is an ELF file too.
    #[test]
    fn a_program_has_code_constants_and_variables() {
        let this = std::env::current_exe().expect("a program");
        let size = read("this", &this).expect("it can be read");
        assert!(size.code > 100_000 && size.constants > 10_000, "{size:?}");
        assert!(size.data > 0 && size.zeroed > 0, "{size:?}");
        let file = fs::metadata(&this).expect("it is there").len();
        assert!(size.loaded() < file, "{size:?} of {file}");
    }

    #[test]
    fn what_is_no_program_is_named() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("text");
        let gone = read("text", &path).expect_err("it is not there");
        fs::write(&path, "a text").expect("a file is made");
        let text = read("text", &path).expect_err("it is no program");
        for error in [gone, text] {
            assert!(error.to_string().contains("`text`"), "{error}");
        }
    }
}
