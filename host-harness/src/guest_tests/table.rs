//! The table of tests in a test program's file, which the harness reads without running the guest.

use std::{collections::BTreeSet, time::Duration};

use dormir_abi::test_table::{ENTRY_BYTES, FORMAT, SECTION, field};
use object::{
    LittleEndian as LE, ReadRef,
    elf::{self, FileHeader64, ProgramHeader64, SectionHeader64},
    read::elf::{FileHeader, SectionHeader},
};

use crate::escape::is_command;

/// The largest table and the longest descriptions in total, in bytes: far more than a program of
/// 10,000 tests has. What a file claims beyond it is not read.
const LIMIT: u64 = 16 << 20;

/// A test, as its program describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestTest {
    /// The crate of its program, such as the name of a file in `tests`.
    pub program: String,
    /// Its path, without the crate.
    pub name: String,
    /// Its index in the table, by which the guest knows it.
    pub index: usize,
    /// It is run only if ignored tests are asked for.
    pub is_ignored: bool,
    /// It passes if it panics with a message that contains this.
    pub should_panic: Option<String>,
    /// Its own time limit.
    pub timeout: Option<Duration>,
}

/// Why the tests of a program cannot be listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TestTableError {
    /// The table is not what the attributes make.
    #[error(
        "the table of tests is damaged: {0}; build the program again, and put nothing else into \
         the section `{SECTION}`"
    )]
    Damaged(String),
    /// The program is of another version.
    #[error(
        "the program was built with dormir-guest {guest}, whose tests this cargo-vm of version {} \
         does not know: use the same version of both (cargo-vm is part of dormir's repository, and \
         dormir-guest is named in the program's Cargo.toml)",
        env!("CARGO_PKG_VERSION")
    )]
    OtherVersion {
        /// The version of `dormir-guest`.
        guest: String,
    },
    /// No entry is the program's own.
    #[error(
        "the program has tests, but its `main` runs none: write `dormir_guest::test_main!();` in \
         place of `dormir_guest::entry!`, or build it with `cargo test`"
    )]
    NoTestMain,
    /// Two tests have one name.
    #[error("two tests are named `{0}`: rename one, so that each can be run by its name")]
    Duplicate(String),
}

/// Reads the tests of a program, sorted by name. Returns `None` if it is not a test program.
pub(crate) fn read<'a>(file: impl ReadRef<'a>) -> Result<Option<Vec<GuestTest>>, TestTableError> {
    // What is no ELF file has no tests either: running it gives the reason.
    let Some((segments, section)) = find(file) else {
        return Ok(None);
    };
    let damaged = |problem: &str| TestTableError::Damaged(problem.to_owned());
    if section.sh_size.get(LE) > LIMIT {
        return Err(damaged("it is larger than any table"));
    }
    let table = section
        .data(LE, file)
        .map_err(|error| damaged(&error.to_string()))?;
    let (entries, rest) = table.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() {
        return Err(damaged("its size is not a multiple of an entry's"));
    }
    let mut left = LIMIT;
    let descriptions = entries
        .iter()
        .map(|entry| description(file, segments, entry, &mut left))
        .collect::<Result<Vec<_>, _>>()?;
    if descriptions.is_empty() {
        return Ok(None);
    }
    let mut formats = descriptions.iter().filter_map(|description| {
        Some((field(description, "format")?, field(description, "version")))
    });
    let (format, version) = formats.next().ok_or(TestTableError::NoTestMain)?;
    if format != FORMAT.to_string() {
        return Err(TestTableError::OtherVersion {
            guest: crate::escape::escape(version.unwrap_or("of an unknown version")),
        });
    }
    if formats.next().is_some() {
        return Err(damaged("it describes two programs"));
    }
    let mut tests = Vec::new();
    for (index, description) in descriptions.iter().enumerate() {
        if field(description, "format").is_none() {
            tests.push(test(index, description)?);
        }
    }
    tests.sort_by(|one, other| one.name.cmp(&other.name));
    let mut names = BTreeSet::new();
    match tests.iter().find(|test| !names.insert(&test.name)) {
        Some(test) => Err(TestTableError::Duplicate(test.name.clone())),
        None => Ok(Some(tests)),
    }
}

/// Finds the file's segments and the section of the table.
fn find<'a>(
    file: impl ReadRef<'a>,
) -> Option<(&'a [ProgramHeader64<LE>], &'a SectionHeader64<LE>)> {
    let header = FileHeader64::<LE>::parse(file).ok()?;
    // Numbers too large for the header are stored elsewhere, and no guest has so many.
    if header.e_shnum.get(LE) == 0 || header.e_phnum.get(LE) == elf::PN_XNUM {
        return None;
    }
    let segments = header.program_headers(LE, file).ok()?;
    let sections = header.sections(LE, file).ok()?;
    let (_, section) = sections.section_by_name(LE, SECTION.as_bytes())?;
    Some((segments, section))
}

/// Returns the description of an entry, if it is not longer than what is `left`.
fn description<'a>(
    file: impl ReadRef<'a>,
    segments: &[ProgramHeader64<LE>],
    entry: &[u8; ENTRY_BYTES],
    left: &mut u64,
) -> Result<&'a str, TestTableError> {
    let [address, length, _] = entry.as_chunks().0 else {
        unreachable!("an entry has three words");
    };
    let (address, length) = (u64::from_le_bytes(*address), u64::from_le_bytes(*length));
    let mut text = || {
        *left = left.checked_sub(length)?;
        // Only the text is read, however large its segment is.
        let offset = segments.iter().find_map(|segment| {
            let within = address.checked_sub(segment.p_vaddr.get(LE))?;
            let is_there = within.checked_add(length)? <= segment.p_filesz.get(LE);
            is_there
                .then(|| segment.p_offset.get(LE).checked_add(within))
                .flatten()
        })?;
        std::str::from_utf8(file.read_bytes_at(offset, length).ok()?).ok()
    };
    text().ok_or_else(|| {
        TestTableError::Damaged(format!(
            "there is no text of {length} bytes at {address:#x}"
        ))
    })
}

/// Reads one test.
fn test(index: usize, description: &str) -> Result<GuestTest, TestTableError> {
    let path = field(description, "name").unwrap_or_default();
    let (program, name) = path.split_once("::").unwrap_or_default();
    if name.is_empty() || !path.chars().all(is_of_path) {
        return Err(TestTableError::Damaged(format!(
            "{path:?} is not a test's name"
        )));
    }
    let timeout = match field(description, "timeout_ms").map(str::parse) {
        None => None,
        Some(Ok(milliseconds)) => Some(Duration::from_millis(milliseconds)),
        Some(Err(_)) => {
            return Err(TestTableError::Damaged(format!(
                "the time limit of `{name}` is no number"
            )));
        }
    };
    Ok(GuestTest {
        program: program.to_owned(),
        name: name.to_owned(),
        index,
        is_ignored: field(description, "ignore").is_some(),
        should_panic: field(description, "should_panic").map(str::to_owned),
        timeout,
    })
}

/// Whether paths of functions have this character. None leads out of a folder.
fn is_of_path(character: char) -> bool {
    match character {
        '_' | ':' | '#' => true,
        character if character.is_ascii() => character.is_ascii_alphanumeric(),
        character => !is_command(character),
    }
}

#[cfg(test)]
mod tests;
