//! Names, files and lines of addresses.

use std::env;

use addr2line::{
    Context,
    gimli::{Dwarf, LittleEndian, SectionId},
};
use object::{Object, ObjectSection, SymbolMap, SymbolMapName};

use super::{Bytes, Elf, Frame, MAX_FRAMES, Origin, unwind::Call};
use crate::escape::escape;

/// The symbols of an ELF file.
pub(super) struct Symbols<'a> {
    debug: Option<Context<Bytes<'a>>>,
    table: Option<SymbolMap<SymbolMapName<'a>>>,
    /// Where the sources of `dormir` and `dormir-guest` were when the guest was built.
    folders: Vec<(String, Origin)>,
    /// What a path of a source file is shown without.
    current: Option<String>,
}

impl<'a> Symbols<'a> {
    pub(super) fn new(elf: Option<&Elf<'a>>) -> Self {
        let load = |id: SectionId| -> Result<Bytes<'a>, ()> {
            let section = elf.and_then(|elf| elf.section_by_name(id.name()));
            let data = section.and_then(|section| section.data().ok());
            Ok(Bytes::new(data.unwrap_or_default(), LittleEndian))
        };
        let current = env::current_dir().ok();
        let mut symbols = Self {
            debug: Dwarf::load(load)
                .ok()
                .and_then(|dwarf| Context::from_dwarf(dwarf).ok()),
            table: elf.map(Object::symbol_map),
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

    /// Returns the folder of a crate's sources: that of one of its functions.
    fn sources_of(&self, name: &str) -> Option<String> {
        let start = format!("{name}::");
        let table = self.table.as_ref()?.symbols().iter();
        let of_crate = table.filter(|symbol| demangled(symbol.name()).starts_with(&start));
        let mut files = of_crate.filter_map(|symbol| self.outermost_file(symbol.address()));
        let file = files.find(|file| !is_of_rust(file))?;
        // The innermost folder of that name could be one within the crate.
        let (package, _) = file.split_once("/src/")?;
        Some(format!("{package}/src/"))
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
        let table = self.table.as_ref();
        let symbol = table.and_then(|table| table.containing(call.lookup()));
        if let (Some(last), Some(symbol)) = (frames.last_mut(), symbol) {
            last.function = Some(demangled(symbol.name()));
        }
        frames
    }

    fn by_debug_information(&self, call: &Call) -> Option<Vec<Frame>> {
        let context = self.debug.as_ref()?;
        let mut found = context.find_frames(call.lookup()).skip_all_loads().ok()?;
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
        escape(match in_rust {
            Some((_commit, path)) => path,
            None => file.strip_prefix(current).unwrap_or(file),
        })
    }
}

/// Whether a source file is of Rust's own library, by where the compiler and rustup place it.
fn is_of_rust(file: &str) -> bool {
    file.starts_with("/rustc/") || file.contains("/lib/rustlib/src/rust/library/")
}

/// Returns a function's name as Rust shows it, without the hash.
fn demangled(name: &str) -> String {
    escape(&format!("{:#}", rustc_demangle::demangle(name)))
}
