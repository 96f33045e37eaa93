//! A compiler: its location, version and components.

use super::TARGET;
use crate::{
    process::{self, Keep, Scope},
    stop::StopToken,
    workspace::Workspace,
};
use std::{env, ffi::OsStr, fmt, path::PathBuf, process::Command, time::Duration};

/// The time limit for a compiler's answer to a query.
const QUERY_LIMIT: Duration = Duration::from_secs(60);

/// The oldest compiler that builds the project.
pub(super) const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// A compiler and its cargo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    cargo: PathBuf,
    rustc: PathBuf,
    sysroot: PathBuf,
    version: String,
}

/// Writes the version and the sysroot.
impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.version, self.sysroot.display())
    }
}

impl Compiler {
    /// Asks a compiler for its sysroot and version; returns `None` if it does not answer or there
    /// is no cargo.
    pub(super) fn query(rustc: PathBuf, workspace: &Workspace) -> Option<Self> {
        let beside = which::which(rustc.with_file_name("cargo"));
        let cargo = beside.or_else(|_| which::which("cargo")).ok()?;
        let ask = |argument: &[&str]| {
            let mut command = Command::new(&rustc);
            isolate(&mut command, &[]);
            // Under rustup, `rust-toolchain.toml` decides which compiler this is.
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

    /// Makes a compiler that does not exist.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self::for_test_in("/somewhere".into(), "rustc 9.8.7")
    }

    /// Makes a compiler that does not exist, with this sysroot and version.
    #[cfg(test)]
    pub(super) fn for_test_in(sysroot: PathBuf, version: &str) -> Self {
        Self {
            cargo: "/somewhere/cargo".into(),
            rustc: "/somewhere/rustc".into(),
            sysroot,
            version: version.into(),
        }
    }

    /// Its version, without its name.
    pub(super) fn version(&self) -> &str {
        let version = &*self.version;
        version.strip_prefix("rustc ").unwrap_or(version)
    }

    /// Returns whether it is too old for the project. A compiler with an unknown version is
    /// trusted.
    pub(super) fn is_too_old(&self) -> bool {
        let release = self.version.split_whitespace().nth(1);
        matches!(
            (release.and_then(major_and_minor), major_and_minor(OLDEST)),
            (Some(this), Some(oldest)) if this < oldest
        )
    }

    fn rustlib(&self) -> PathBuf {
        self.sysroot.join("lib").join("rustlib")
    }

    pub(super) fn has_target(&self) -> bool {
        self.rustlib().join(TARGET).join("lib").is_dir()
    }

    pub(super) fn has_source(&self) -> bool {
        self.rustlib()
            .join("src/rust/library/core/src/lib.rs")
            .is_file()
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        isolate(&mut command, &[]);
        command.env("RUSTC", &self.rustc);
        // The rustdoc in PATH could belong to another compiler. If this compiler has none, cargo
        // uses that one.
        let rustdoc = self.rustc.with_file_name("rustdoc");
        if rustdoc.is_file() {
            command.env("RUSTDOC", rustdoc);
        }
        command
    }
}

/// Returns the first two numbers of a version.
fn major_and_minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(['.', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Removes from a command's environment what an outer cargo and rustup have set, so that an inner
/// cargo or rustc is configured by the folder in which it runs. The variables in `keep` stay.
pub(crate) fn isolate(command: &mut Command, keep: &[&str]) {
    for (name, _) in env::vars_os() {
        if is_inherited_setting(&name) && !keep.iter().any(|kept| name == *kept) {
            command.env_remove(name);
        }
    }
    // Without it, rustup may download what `rust-toolchain.toml` lists when it is only queried.
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

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_compilers_version_is_shown_without_its_name_and_place() {
        assert_eq!(Compiler::for_test().version(), "9.8.7");
    }

    #[test]
    fn only_what_is_older_than_the_oldest_is_too_old() {
        let (major, minor) = major_and_minor(OLDEST).expect("the manifest says which");
        for (version, too_old) in [
            (format!("rustc {OLDEST}.0 (1159e78c4 2025-09-14)"), false),
            (format!("rustc {major}.{}.0-nightly (x)", minor + 1), false),
            (format!("rustc {major}.{}.9", minor - 1), true),
            ("rustc 2.0.0".into(), false),
            ("rustc 1.9.0".into(), true),
            ("rustc of my own".into(), false),
            ("rustc".into(), false),
        ] {
            let compiler = Compiler::for_test_in("/somewhere".into(), &version);
            assert_eq!(compiler.is_too_old(), too_old, "{version}");
        }
    }
}
