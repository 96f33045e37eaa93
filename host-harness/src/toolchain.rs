//! Finds a way to build guests on this machine: with a compiler that has the guest target's
//! library, or with one that has the library's source.
//!
//! What a compiler has is decided by the files in its sysroot, not by what a tool prints. Detection
//! installs nothing.

mod compiler;

pub use compiler::Compiler;
pub(crate) use compiler::isolate;

use crate::workspace::Workspace;
use compiler::OLDEST;
use std::{
    collections::HashSet,
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

/// The target for which guests are built.
pub const TARGET: &str = "x86_64-unknown-none";

/// A way to build guests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestToolchain {
    /// The compiler has the target's precompiled library.
    Target(Compiler),
    /// The compiler has the library's source, which is built together with the guest.
    BuildStd {
        /// The compiler.
        compiler: Compiler,
        /// The linker; such a compiler has none for the target.
        linker: PathBuf,
    },
}

/// No compiler on this machine can build guests.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct GuestToolchainError {
    /// A compiler that could build guests, but is too old for the project.
    pub(crate) too_old: Option<String>,
}

impl GuestToolchainError {
    /// Describes what is missing, without what to do about it.
    pub(crate) fn lack(&self) -> String {
        let too_old = self.too_old.as_ref();
        format!(
            "guests cannot be built: no compiler here of version {OLDEST} or later has the library \
             for {TARGET}, or its source and ld.lld{}",
            too_old.map_or(String::new(), |compiler| format!(
                " ({compiler} is too old)"
            ))
        )
    }
}

impl fmt::Display for GuestToolchainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: run `cargo vm demo` or `cargo vm test`, which install what is missing, or `rustup \
             target add {TARGET}`",
            self.lack()
        )
    }
}

/// Writes the compiler, and where the guest target's library comes from.
impl fmt::Display for GuestToolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(compiler) => write!(f, "{compiler}, with the target {TARGET}"),
            Self::BuildStd { compiler, linker } => write!(
                f,
                "{compiler}, which builds the library from its source and links with {}",
                linker.display()
            ),
        }
    }
}

impl GuestToolchain {
    /// Finds a way to build the guests of `workspace`. Installs nothing.
    ///
    /// # Errors
    ///
    /// Something must be installed first.
    pub fn detect(workspace: &Workspace) -> Result<Self, GuestToolchainError> {
        // Not only the first in PATH: a distribution's compiler may come after rustup's.
        let mut folders = HashSet::new();
        let compilers = which::which_all("rustc")
            .into_iter()
            .flatten()
            .filter(|rustc| folders.insert(rustc.parent().map(Path::canonicalize).transpose().ok()))
            .filter_map(|rustc| Compiler::query(rustc, workspace));
        Self::choose(compilers, which::which("ld.lld").ok())
    }

    /// Chooses the first compiler with the target's library, else the first with its source.
    fn choose(
        compilers: impl IntoIterator<Item = Compiler>,
        linker: Option<PathBuf>,
    ) -> Result<Self, GuestToolchainError> {
        let (mut with_source, mut too_old) = (None, None);
        for compiler in compilers {
            if !compiler.has_target() && !compiler.has_source() {
                continue;
            }
            if compiler.is_too_old() {
                too_old.get_or_insert(compiler.to_string());
            } else if compiler.has_target() {
                return Ok(Self::Target(compiler));
            } else {
                with_source.get_or_insert(compiler);
            }
        }
        match (with_source, linker) {
            (Some(compiler), Some(linker)) => Ok(Self::BuildStd { compiler, linker }),
            _ => Err(GuestToolchainError { too_old }),
        }
    }

    /// The compiler's version without where it is: `1.95.0 (59807616e 2026-04-14)`.
    #[must_use]
    pub fn version(&self) -> &str {
        let (Self::Target(compiler) | Self::BuildStd { compiler, .. }) = self;
        compiler.version()
    }

    /// Starts a cargo command, free of the settings of an outer cargo; the caller adds the
    /// subcommand and its arguments. It must run in the guests' workspace.
    #[must_use]
    pub fn command(&self) -> Command {
        match self {
            Self::Target(compiler) => compiler.command(),
            Self::BuildStd { compiler, linker } => {
                let mut command = compiler.command();
                command
                    // A release compiler refuses to build its own library without it.
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_TARGET_X86_64_UNKNOWN_NONE_LINKER", linker)
                    .args([
                        "-Zbuild-std=core,alloc,compiler_builtins",
                        "-Zbuild-std-features=compiler-builtins-mem",
                    ]);
                command
            }
        }
    }
}

/// Returns whether PATH has a program with this name.
pub(crate) fn in_path(name: &str) -> bool {
    which::which(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        collections::HashMap,
        ffi::{OsStr, OsString},
        fs,
    };

    const NOTHING: Result<GuestToolchain, GuestToolchainError> =
        Err(GuestToolchainError { too_old: None });

    fn compiler(sysroot: &Path, has: &[&str]) -> Compiler {
        compiler_of("rustc 9.8.7", sysroot, has)
    }

    fn compiler_of(version: &str, sysroot: &Path, has: &[&str]) -> Compiler {
        for file in has {
            let path = sysroot.join("lib/rustlib").join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder is made");
            fs::write(path, "").expect("a file is made");
        }
        Compiler::for_test_in(sysroot.into(), version)
    }

    const LIBRARY: &str = "x86_64-unknown-none/lib/libcore-1.rlib";
    const SOURCE: &str = "src/rust/library/core/src/lib.rs";

    #[test]
    fn a_later_compiler_with_the_target_beats_an_earlier_one_with_the_source() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let source = compiler(first.path(), &[SOURCE]);
        let target = compiler(second.path(), &[LIBRARY]);
        assert_eq!(
            GuestToolchain::choose([source, target.clone()], Some("/bin/ld.lld".into())),
            Ok(GuestToolchain::Target(target))
        );
    }

    #[test]
    fn source_without_a_linker_is_not_enough() {
        let sysroot = tempfile::tempdir().unwrap();
        let source = compiler(sysroot.path(), &[SOURCE]);
        assert_eq!(GuestToolchain::choose([source.clone()], None), NOTHING);
        assert_eq!(
            GuestToolchain::choose([source.clone()], Some("/bin/ld.lld".into())),
            Ok(GuestToolchain::BuildStd {
                compiler: source,
                linker: "/bin/ld.lld".into()
            })
        );
    }

    #[test]
    fn a_sysroot_with_neither_is_not_enough() {
        let sysroot = tempfile::tempdir().unwrap();
        let bare = compiler(
            sysroot.path(),
            &["x86_64-unknown-linux-gnu/lib/libcore.rlib"],
        );
        assert_eq!(
            GuestToolchain::choose([bare], Some("/bin/ld.lld".into())),
            NOTHING
        );
    }

    #[test]
    fn a_compiler_that_is_too_old_is_passed_over_and_named() {
        let sysroot = tempfile::tempdir().unwrap();
        let old = compiler_of("rustc 1.0.0", sysroot.path(), &[LIBRARY, SOURCE]);
        let error = GuestToolchain::choose([old.clone()], Some("/bin/ld.lld".into()))
            .expect_err("it is too old");
        assert!(error.to_string().contains("rustc 1.0.0"), "{error}");
        let new = compiler(sysroot.path(), &[LIBRARY]);
        assert_eq!(
            GuestToolchain::choose([old, new.clone()], None),
            Ok(GuestToolchain::Target(new))
        );
    }

    #[test]
    fn building_the_library_is_asked_for_before_the_subcommand() {
        let sysroot = tempfile::tempdir().unwrap();
        let toolchain = GuestToolchain::BuildStd {
            compiler: compiler(sysroot.path(), &[SOURCE]),
            linker: "/bin/ld.lld".into(),
        };
        let command = toolchain.command();
        let arguments: Vec<_> = command.get_args().collect();
        assert!(arguments[0].to_string_lossy().starts_with("-Zbuild-std="));
        let set: HashMap<OsString, Option<OsString>> = command
            .get_envs()
            .map(|(name, value)| (name.into(), value.map(OsString::from)))
            .collect();
        for (name, value) in [
            ("RUSTC_BOOTSTRAP", "1"),
            ("RUSTC", "/somewhere/rustc"),
            ("CARGO_TARGET_X86_64_UNKNOWN_NONE_LINKER", "/bin/ld.lld"),
        ] {
            assert_eq!(
                set.get(OsStr::new(name)).cloned().flatten(),
                Some(OsString::from(value)),
                "{name}"
            );
        }
    }
}
