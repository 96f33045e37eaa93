//! How guests can be built on this machine: with a compiler that has the guest target's library, or
//! with one that has the library's source.
//!
//! What a compiler has is judged by what lies in its sysroot, never by what a tool prints. Looking
//! installs nothing.

use crate::{
    process::{self, Keep, Scope},
    vmm::StopToken,
    workspace::Workspace,
};
use std::{
    collections::HashSet,
    env,
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// The target that guests are built for.
pub const TARGET: &str = "x86_64-unknown-none";

/// How long a compiler may take to say where its sysroot is.
const QUERY_LIMIT: Duration = Duration::from_secs(60);

/// A way to build guests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestToolchain {
    /// The compiler has the target's precompiled library.
    Target(Compiler),
    /// The compiler has the library's source, which is built along with the guest.
    BuildStd {
        /// The compiler.
        compiler: Compiler,
        /// The linker; such a compiler brings none for the target.
        linker: PathBuf,
    },
}

/// No compiler on this machine can build guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "guests cannot be built: no compiler here has the library for {TARGET}, or its source and \
     ld.lld: run `cargo vm demo` or `cargo vm test`, which install what is missing, or \
     `rustup target add {TARGET}`"
)]
pub struct NoGuestToolchain;

/// A compiler and the cargo that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    cargo: PathBuf,
    rustc: PathBuf,
    sysroot: PathBuf,
    version: String,
}

/// The version and where it is from.
impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.version, self.sysroot.display())
    }
}

/// The compiler, and how it comes by the guest target's library.
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
    pub fn detect(workspace: &Workspace) -> Result<Self, NoGuestToolchain> {
        // Not only the first in PATH: a distribution's compiler may stand behind rustup's.
        let mut folders = HashSet::new();
        let compilers = which::which_all("rustc")
            .into_iter()
            .flatten()
            .filter(|rustc| folders.insert(rustc.parent().map(Path::canonicalize).transpose().ok()))
            .filter_map(|rustc| Compiler::query(rustc, workspace));
        Self::choose(compilers, which::which("ld.lld").ok()).ok_or(NoGuestToolchain)
    }

    /// The first compiler with the target's library, else the first with its source.
    fn choose(
        compilers: impl IntoIterator<Item = Compiler>,
        linker: Option<PathBuf>,
    ) -> Option<Self> {
        let mut with_source = None;
        for compiler in compilers {
            if compiler.has_target() {
                return Some(Self::Target(compiler));
            }
            if compiler.has_source() {
                with_source.get_or_insert(compiler);
            }
        }
        Some(Self::BuildStd {
            compiler: with_source?,
            linker: linker?,
        })
    }

    /// A cargo command to which the subcommand and its arguments are to be added, free of what an
    /// outer cargo has set. It must be run in the guests' workspace.
    #[must_use]
    pub fn command(&self) -> Command {
        match self {
            Self::Target(compiler) => compiler.command(),
            Self::BuildStd { compiler, linker } => {
                let mut command = compiler.command();
                command
                    // The release compiler refuses to build its own library without it.
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

impl Compiler {
    /// Asks a compiler where its sysroot is; `None` if it does not answer or there is no cargo.
    fn query(rustc: PathBuf, workspace: &Workspace) -> Option<Self> {
        let beside = which::which(rustc.with_file_name("cargo"));
        let cargo = beside.or_else(|_| which::which("cargo")).ok()?;
        let ask = |argument: &[&str]| {
            let mut command = Command::new(&rustc);
            isolate(&mut command, &[]);
            // `rust-toolchain.toml` decides which one it is, where that is rustup's to say.
            command.args(argument).current_dir(workspace.guest());
            let captured = process::capture(
                &mut command,
                Keep::Stdout,
                Scope::Group,
                QUERY_LIMIT,
                &StopToken::default(),
            )
            .ok()?;
            let answer = captured.output.trim().to_owned();
            (captured.status.success() && !answer.is_empty()).then_some(answer)
        };
        let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?);
        let version = ask(&["--version"])?;
        Some(Self {
            cargo,
            rustc,
            sysroot,
            version,
        })
    }

    /// A compiler that is nowhere.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self {
            cargo: "/somewhere/cargo".into(),
            rustc: "/somewhere/rustc".into(),
            sysroot: "/somewhere".into(),
            version: "rustc 1.2.3".into(),
        }
    }

    fn rustlib(&self) -> PathBuf {
        self.sysroot.join("lib").join("rustlib")
    }

    fn has_target(&self) -> bool {
        self.rustlib().join(TARGET).join("lib").is_dir()
    }

    fn has_source(&self) -> bool {
        self.rustlib()
            .join("src/rust/library/core/src/lib.rs")
            .is_file()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        isolate(&mut command, &[]);
        command.env("RUSTC", &self.rustc);
        command
    }
}

/// Takes from a command's environment what an outer cargo and rustup have set, so that a cargo or
/// rustc inside is configured by the folder it runs in. What `keep` names stays.
pub(crate) fn isolate(command: &mut Command, keep: &[&str]) {
    for (name, _) in env::vars_os() {
        if is_inherited_setting(&name) && !keep.iter().any(|kept| name == *kept) {
            command.env_remove(name);
        }
    }
    // Without it, rustup may download what `rust-toolchain.toml` lists at a mere question.
    command.env("RUSTUP_AUTO_INSTALL", "0");
}

fn is_inherited_setting(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    match &*name {
        "CARGO_HOME" | "RUSTUP_HOME" => false,
        "LD_LIBRARY_PATH" => true,
        other => other.contains("CARGO") || other.contains("RUST"),
    }
}

/// Whether the program that `name` stands for in PATH is there.
pub(crate) fn in_path(name: &str) -> bool {
    which::which(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashMap, ffi::OsString, fs};

    fn compiler(sysroot: &Path, has: &[&str]) -> Compiler {
        for file in has {
            let path = sysroot.join("lib/rustlib").join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder is made");
            fs::write(path, "").expect("a file is made");
        }
        Compiler {
            sysroot: sysroot.into(),
            ..Compiler::for_test()
        }
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
            Some(GuestToolchain::Target(target))
        );
    }

    #[test]
    fn source_without_a_linker_is_not_enough() {
        let sysroot = tempfile::tempdir().unwrap();
        let source = compiler(sysroot.path(), &[SOURCE]);
        assert_eq!(GuestToolchain::choose([source.clone()], None), None);
        assert_eq!(
            GuestToolchain::choose([source.clone()], Some("/bin/ld.lld".into())),
            Some(GuestToolchain::BuildStd {
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
            None
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

    #[test]
    fn only_where_things_are_is_inherited() {
        for (name, removed) in [
            ("CARGO", true),
            ("CARGO_HOME", false),
            ("CARGO_TARGET_DIR", true),
            ("RUSTFLAGS", true),
            ("RUSTUP_HOME", false),
            ("RUSTUP_TOOLCHAIN", true),
            ("LD_LIBRARY_PATH", true),
            ("PATH", false),
        ] {
            assert_eq!(is_inherited_setting(OsStr::new(name)), removed, "{name}");
        }
    }
}
