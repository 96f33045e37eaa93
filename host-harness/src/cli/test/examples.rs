//! Runs the library's examples that need a machine, and those of README and `docs`: each is a guest that is booted in a VM.
//!
//! Rustdoc compiles an example for the guests' target and starts it with cargo's runner for that
//! target, `.cargo/run-guest`. The guest's exit code is the result.

use crate::{
    toolchain::{GuestToolchain, TARGET},
    workspace::Workspace,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// Marks an example as a guest.
const MARK: &str = "dormir_guest::entry!(";

/// Marks an example as part of a Hyperlight guest, which is compiled and not run.
const COMPILED_MARK: &str = "# use dormir_guest as _;";

/// What is in the names of the examples in the README and in `docs`: the library's module that
/// takes them in.
const PAGES: &str = "pages::";

/// Why the examples cannot be run.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExamplesError {
    /// The library cannot be read.
    #[error("the library's sources in {} cannot be read: {source}", folder.display())]
    Unreadable {
        /// Their folder.
        folder: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// None is a guest.
    #[error(
        "no example in {} is a guest: give those that need a machine the line `# {MARK}main);`",
        folder.display()
    )]
    None {
        /// The folder that was searched.
        folder: PathBuf,
    },
}

/// Makes the cargo command that compiles and boots the examples.
///
/// `cargo_vm` is the program that boots them.
///
/// With optimisation, since with a KVM that emulates instructions the guests take most of the time.
pub(super) fn command(
    toolchain: &GuestToolchain,
    workspace: &Workspace,
    cargo_vm: Option<&Path>,
) -> Result<Command, ExamplesError> {
    let mut command = toolchain.command();
    command
        .args(["test", "--locked", "--release", "--doc"])
        .args(["--package", "dormir", "--target", TARGET])
        .args(["--features", "hyperlight-typed,host-calls-typed"])
        .arg("--target-dir")
        .arg(workspace.guest_target())
        .arg("--")
        .args(files(workspace.root())?)
        .arg(PAGES)
        .current_dir(workspace.root());
    if let Some(cargo_vm) = cargo_vm {
        // Otherwise the runner asks cargo for it, once for each example.
        command.env("DORMIR_CARGO_VM", cargo_vm);
    }
    Ok(command)
}

/// Finds the library's files whose examples are guests or parts of Hyperlight guests. Returns paths
/// relative to `root`, with which rustdoc begins an example's name.
fn files(root: &Path) -> Result<Vec<PathBuf>, ExamplesError> {
    let folder = root.join("src");
    let mut files = Vec::new();
    if let Err(source) = search(&folder, &mut files) {
        return Err(ExamplesError::Unreadable { folder, source });
    }
    if files.is_empty() {
        return Err(ExamplesError::None { folder });
    }
    files.sort();
    Ok(files
        .iter()
        .map(|file| file.strip_prefix(root).unwrap_or(file).to_owned())
        .collect())
}

fn search(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            search(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            if [MARK, COMPILED_MARK].iter().any(|mark| text.contains(mark)) {
                found.push(path);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_with_guests_are_found_in_all_folders() {
        let root = tempfile::tempdir().expect("a folder");
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
            fs::write(path, text).expect("it is written");
        };
        write("src/time/delay.rs", "/// # dormir_guest::entry!(main);\n");
        write(
            "src/arch/x86/apic.rs",
            "/// # dormir_guest::entry!(main, owns_machine);\n",
        );
        write("src/sandbox.rs", "/// # use dormir_guest as _;\n");
        write("src/lib.rs", "// See `dormir_guest::entry!`.\n");
        write("src/notes.md", "dormir_guest::entry!(main);\n");
        write("tests/a.rs", "dormir_guest::entry!(main);\n");
        let found = files(root.path()).expect("they can be read");
        assert_eq!(
            found,
            [
                Path::new("src/arch/x86/apic.rs"),
                Path::new("src/sandbox.rs"),
                Path::new("src/time/delay.rs")
            ]
        );
    }

    /// Without a filter, cargo would run all examples; finding none is an error.
    #[test]
    fn no_guests_are_an_error() {
        let root = tempfile::tempdir().expect("a folder");
        let missing = files(root.path()).expect_err("there is no source");
        assert!(missing.to_string().contains("cannot be read"), "{missing}");
        fs::create_dir(root.path().join("src")).expect("it is made");
        let none = files(root.path()).expect_err("there is no example");
        assert!(none.to_string().contains("no example"), "{none}");
    }
}
