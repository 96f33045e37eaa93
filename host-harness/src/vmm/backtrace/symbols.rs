//! Names, files and lines of addresses.

use std::env;

use addr2line::{
    Context,
    gimli::{self, Dwarf, SectionId},
};
use object::{Object, ObjectSection, ObjectSymbol, read::elf::ElfSymbol64};

use super::{
    Elf, Frame, MAX_FRAMES, Origin,
    meter::{Meter, Metered},
    unwind::Call,
};
use crate::escape::escape;

/// The longest name of a function, or path of a file, that is shown.
const MAX_NAME: usize = 1024;

/// How deep functions may be inlined into functions. Below it the debug information is not read:
/// reading is recursive.
const MAX_DEPTH: isize = 256;

/// The symbols of an ELF file.
pub(super) struct Symbols<'a> {
    debug: Option<Context<Metered<'a>>>,
    /// The functions of the symbol table, by address. Names are read when they are needed: a
    /// damaged file can have any number of long ones.
    table: Vec<Function<'a>>,
    meter: &'a Meter,
    /// Whether there is debug information that cannot be read.
    is_damaged: bool,
    /// Where the sources of `dormir` and `dormir-guest` were when the guest was built.
    folders: Vec<(String, Origin)>,
    /// What a path of a source file is shown without.
    current: Option<String>,
}

/// A function in the symbol table.
type Function<'a> = ElfSymbol64<'a, 'a, object::LittleEndian>;

impl<'a> Symbols<'a> {
    pub(super) fn new(elf: Option<&'a Elf<'a>>, meter: &'a Meter) -> Self {
        let debug = load(elf, meter).and_then(|dwarf| {
            // To look takes no memory.
            let is_shallow = is_shallow(&load(elf, &Meter::of_time())?)?;
            let context = is_shallow.then(|| Context::from_dwarf(dwarf));
            context.transpose()
        });
        let symbols = elf.into_iter().flat_map(|elf| elf.symbols());
        let mut table: Vec<_> = symbols
            .take_while(|_| meter.allows(size_of::<Function<'_>>()))
            .filter(Function::is_definition)
            .collect();
        table.sort_by_key(Function::address);
        let current = env::current_dir().ok();
        let mut symbols = Self {
            is_damaged: !matches!(debug, Ok(Some(_))),
            debug: debug.unwrap_or_default(),
            table,
            meter,
            folders: Vec::new(),
            current: current.and_then(|current| Some(format!("{}/", current.to_str()?))),
        };
        symbols.folders = [
            ("dormir", Origin::Dormir),
            ("dormir_guest", Origin::DormirGuest),
        ]
        .into_iter()
        .filter_map(|(name, origin)| Some((symbols.sources_of(name)?, origin)))
        .collect();
        symbols
    }

    /// Returns whether names or lines can be missing.
    pub(super) fn is_incomplete(&self) -> bool {
        self.is_damaged || self.meter.is_exhausted()
    }

    /// Returns the name of the function at `address` in the symbol table.
    fn in_table(&self, address: u64) -> Option<String> {
        let after = self
            .table
            .partition_point(|function| function.address() <= address);
        let function = self.table.get(after.checked_sub(1)?)?;
        let is_within = function.size() == 0 || address - function.address() < function.size();
        is_within.then(|| self.name(function)).flatten()
    }

    /// Returns the name of a function in the symbol table, unless too much was read already.
    fn name(&self, function: &Function<'a>) -> Option<String> {
        let name = function.name().ok().filter(|name| !name.is_empty())?;
        let demangled = self.meter.allows(name.len()).then(|| demangled(name))?;
        self.meter.allows(demangled.len()).then_some(demangled)
    }

    /// Returns the folder of a crate's sources: that of one of its functions.
    fn sources_of(&self, name: &str) -> Option<String> {
        let start = format!("{name}::");
        let table = self.table.iter().take_while(|_| !self.meter.is_exhausted());
        let is_of_crate = |function: &&Function<'a>| {
            let name = self.name(function);
            name.is_some_and(|name| name.starts_with(&start))
        };
        let mut files = table
            .filter(is_of_crate)
            .filter_map(|function| self.outermost_file(function.address()));
        sources_above(&files.find(|file| !is_of_rust(file))?)
    }

    /// Returns the file of the function at `address`, and not of one that was inlined into it.
    fn outermost_file(&self, address: u64) -> Option<String> {
        let found = self.debug.as_ref()?.find_frames(address);
        let (mut found, mut file) = (found.skip_all_loads().ok()?, None);
        while let Ok(Some(frame)) = found.next() {
            file = frame.location.and_then(|location| location.file);
        }
        file.map(str::to_owned)
    }

    /// Returns the functions at a call: the inlined ones, innermost first, and the one that was
    /// called.
    pub(super) fn frames(&self, call: &Call) -> Vec<Frame> {
        let mut frames = self.by_debug_information(call).unwrap_or_default();
        if frames.is_empty() {
            frames.push(Frame {
                address: call.address,
                function: None,
                location: None,
                origin: Origin::Program,
            });
        }
        // The one that was called is in the symbol table, by its whole path.
        if let (Some(last), Some(name)) = (frames.last_mut(), self.in_table(call.lookup())) {
            last.function = Some(name);
        }
        frames
    }

    fn by_debug_information(&self, call: &Call) -> Option<Vec<Frame>> {
        let context = self.debug.as_ref()?;
        // addr2line 0.27 looks up the range to the next address, and there is none after the last.
        let address = Some(call.lookup()).filter(|address| *address < u64::MAX)?;
        let mut found = context.find_frames(address).skip_all_loads().ok()?;
        let mut frames = Vec::new();
        while let Ok(Some(frame)) = found.next()
            && frames.len() < MAX_FRAMES
        {
            let function = frame.function.as_ref();
            let name = function.and_then(|function| function.raw_name().ok());
            let location = frame.location.as_ref();
            let file = location.and_then(|location| location.file);
            let line = location.and_then(|location| location.line);
            frames.push(Frame {
                address: call.address,
                function: name.map(|name| demangled(&name)),
                location: file.map(|file| (self.shown(file), line.unwrap_or_default())),
                origin: file.map_or(Origin::Program, |file| self.origin(file)),
            });
        }
        Some(frames)
    }

    fn origin(&self, file: &str) -> Origin {
        let folder = self
            .folders
            .iter()
            .find(|(folder, _)| file.starts_with(folder));
        match folder {
            Some((_, origin)) => *origin,
            None if is_of_rust(file) => Origin::Rust,
            None if file.contains("/registry/src/") => Origin::Dependency,
            None => Origin::Program,
        }
    }

    /// Returns a source file's path as it is shown.
    fn shown(&self, file: &str) -> String {
        let in_rust = file
            .strip_prefix("/rustc/")
            .and_then(|path| path.split_once('/'));
        let current = self.current.as_deref().unwrap_or_default();
        shortened(match in_rust {
            Some((_commit, path)) => path,
            None => file.strip_prefix(current).unwrap_or(file),
        })
    }
}

/// Returns the folder of a package's sources, by one of its files. The packages in question have no
/// `src` within that folder, and may themselves lie in a folder of that name.
fn sources_above(file: &str) -> Option<String> {
    let (package, _) = file.rsplit_once("/src/")?;
    Some(format!("{package}/src/"))
}

/// Whether a source file is of Rust's own library, by where the compiler and rustup place it.
fn is_of_rust(file: &str) -> bool {
    file.starts_with("/rustc/") || file.contains("/lib/rustlib/src/rust/library/")
}

/// Returns a function's name as Rust shows it, without the hash.
fn demangled(name: &str) -> String {
    shortened(&format!("{:#}", rustc_demangle::demangle(name)))
}

/// Returns the text escaped, and cut if it is long.
fn shortened(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_NAME);
    if end == text.len() {
        escape(text)
    } else {
        format!("{}...", escape(&text[..end]))
    }
}

/// Returns the debug information of a file, read through `meter`; without a file, none.
fn load<'a>(elf: Option<&Elf<'a>>, meter: &'a Meter) -> Result<Dwarf<Metered<'a>>, gimli::Error> {
    Dwarf::load(|id: SectionId| {
        let section = elf.and_then(|elf| elf.section_by_name(id.name()));
        let data = section.and_then(|section| section.data().ok());
        Ok(Metered::new(data.unwrap_or_default(), meter))
    })
}

/// Returns whether no entry of the debug information is nested deeper than [`MAX_DEPTH`].
fn is_shallow(dwarf: &Dwarf<Metered<'_>>) -> Result<bool, gimli::Error> {
    let mut units = dwarf.units();
    while let Some(unit) = units.next()? {
        let abbreviations = dwarf.abbreviations(&unit)?;
        let mut entries = unit.entries_raw(&abbreviations, None)?;
        while !entries.is_empty() {
            if entries.next_depth() > MAX_DEPTH {
                return Ok(false);
            }
            if let Some(abbreviation) = entries.read_abbreviation()? {
                entries.skip_attributes(abbreviation.attributes())?;
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A unit whose entry contains inlined functions, each in the one before.
    fn nested(functions: usize) -> Vec<u8> {
        let mut content = vec![4, 0];
        content.extend([0; 4]);
        content.extend([8, 1]);
        content.extend(vec![2; functions]);
        content.extend(vec![0; functions + 1]);
        let mut unit = u32::try_from(content.len()).unwrap().to_le_bytes().to_vec();
        unit.extend(content);
        unit
    }

    #[test]
    fn functions_in_functions_without_end_are_not_read() {
        // A compile unit, and an inlined subroutine; both with children and without attributes.
        const ABBREVIATIONS: [u8; 11] = [1, 0x11, 1, 0, 0, 2, 0x1d, 1, 0, 0, 0];
        for (functions, expected) in [(10, true), (1_000_000, false)] {
            let (meter, info) = (Meter::new(), nested(functions));
            let load = |id| -> Result<_, gimli::Error> {
                let bytes: &[u8] = match id {
                    SectionId::DebugInfo => &info,
                    SectionId::DebugAbbrev => &ABBREVIATIONS,
                    _ => &[],
                };
                Ok(Metered::new(bytes, &meter))
            };
            let dwarf = Dwarf::load(load).unwrap();
            assert_eq!(is_shallow(&dwarf).unwrap(), expected, "{functions}");
        }
    }

    #[test]
    fn a_package_may_lie_in_a_folder_named_as_that_of_its_sources() {
        let folder = |file| sources_above(file);
        let expected = Some("/u/src/dormir/src/".to_owned());
        assert_eq!(folder("/u/src/dormir/src/executor/task.rs"), expected);
        assert_eq!(folder("/u/src/dormir/src/lib.rs"), expected);
        assert_eq!(folder("main.rs"), None);
    }

    #[test]
    fn a_long_name_is_cut() {
        let shown = demangled(&"\u{e4}".repeat(MAX_NAME));
        assert_eq!(shown.len(), MAX_NAME + 3);
        assert!(shown.ends_with("\u{e4}..."), "{shown}");
    }
}
