//! The copy of the checkout in which mutants are made: what was built in it stays, so that each run
//! builds little, and a run that is killed leaves no mutant in the checkout itself.

use super::mutant::Mutant;
use crate::workspace::Workspace;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// What is not copied, wherever it is: what was built, and the history.
const LEFT_OUT: [&str; 2] = ["target", ".git"];

/// Not in the copy: cargo looks for this file in all folders above too, finds the checkout's, and
/// joins lists such as the linker's arguments.
const CARGO_CONFIG: &str = ".cargo/config.toml";

#[derive(Debug, thiserror::Error)]
pub(super) enum TreeError {
    #[error("the sources cannot be copied to {} ({reason}): make room there", to.display())]
    Copy { to: PathBuf, reason: io::Error },
    #[error("`git hash-object` is needed to know changed files again, and fails: {0}")]
    Git(String),
}

/// The folder of everything that belongs to this command.
pub(super) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.root().join("target").join("mutants")
}

/// Makes the copy of this name as the checkout is now, and returns its folder.
pub(super) fn copy(workspace: &Workspace, name: &str) -> Result<PathBuf, TreeError> {
    let to = folder(workspace).join(name);
    let failed = |reason| TreeError::Copy {
        to: to.clone(),
        reason,
    };
    mirror(workspace.root(), &to).map_err(failed)?;
    // By a link to another disk, `target` may be elsewhere.
    let is_inside = || {
        Ok(to
            .canonicalize()?
            .starts_with(workspace.root().canonicalize()?))
    };
    if is_inside().map_err(failed)? {
        match fs::remove_file(to.join(CARGO_CONFIG)) {
            Err(reason) if reason.kind() != io::ErrorKind::NotFound => return Err(failed(reason)),
            _ => {}
        }
    }
    Ok(to)
}

/// Makes `to` like `from`. A file that is the same keeps its time, by which cargo knows it again.
fn mirror(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if LEFT_OUT.iter().any(|left_out| name == *left_out) {
            continue;
        }
        let (source, copy) = (entry.path(), to.join(&name));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            mirror(&source, &copy)?;
        } else if kind.is_file() {
            let is_same =
                fs::read(&copy).is_ok_and(|old| Ok(old) == fs::read(&source).map_err(|_| ()));
            if !is_same {
                fs::copy(&source, &copy)?;
            }
        } else {
            continue;
        }
        names.insert(name);
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        let name = entry.file_name();
        if names.contains(&name) || LEFT_OUT.iter().any(|left_out| name == *left_out) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Returns what identifies the content of each file that has mutants: git's name for it.
pub(super) fn contents(
    tree: &Path,
    mutants: &[Mutant],
) -> Result<BTreeMap<String, String>, TreeError> {
    let files: BTreeSet<&str> = mutants.iter().map(|mutant| &*mutant.file).collect();
    let mut git = Command::new("git");
    git.args(["hash-object", "--no-filters", "--"]).args(&files);
    let output = git.current_dir(tree).output();
    let output = output.map_err(|error| TreeError::Git(error.to_string()))?;
    let names = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || names.lines().count() != files.len() {
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(TreeError::Git(reason));
    }
    let names = names.lines().map(str::to_owned);
    Ok(files.into_iter().map(str::to_owned).zip(names).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_copy_follows_its_source_and_keeps_what_was_built() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let write = |path: PathBuf, text: &str| {
            fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
            fs::write(path, text).expect("a file");
        };
        write(from.join("src/lib.rs"), "one");
        write(from.join("src/old/mod.rs"), "old");
        write(from.join("target/debug/a"), "built");
        mirror(&from, &to).expect("it is copied");
        let time = |path: &str| {
            fs::metadata(to.join(path))
                .and_then(|file| file.modified())
                .ok()
        };
        let copied = time("src/lib.rs").expect("it is there");
        assert_eq!(time("target/debug/a"), None);

        write(to.join("target/debug/b"), "built");
        write(from.join("src/new.rs"), "new");
        fs::remove_dir_all(from.join("src/old")).expect("it is removed");
        mirror(&from, &to).expect("it is copied");
        assert_eq!(time("src/lib.rs"), Some(copied));
        assert!(time("src/new.rs").is_some());
        assert_eq!(time("src/old"), None);
        assert!(time("target/debug/b").is_some());

        // As a run that was killed leaves it.
        write(to.join("src/lib.rs"), "mutant");
        mirror(&from, &to).expect("it is copied");
        assert_eq!(
            fs::read_to_string(to.join("src/lib.rs")).expect("it is there"),
            "one"
        );
    }

    #[test]
    fn a_copy_inside_the_checkout_has_its_cargo_config_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |path: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
            fs::write(path, "").expect("a file");
        };
        let files = [CARGO_CONFIG, ".cargo/mutants.toml"];
        files.into_iter().for_each(write);
        write("guest-image/Cargo.toml");
        let workspace = Workspace::at(folder.path()).expect("a checkout");
        let are_there = || {
            let copy = copy(&workspace, "tree").expect("it is copied");
            files.map(|file| copy.join(file).exists())
        };
        for _ in 0..2 {
            assert_eq!(are_there(), [false, true]);
        }
        let elsewhere = tempfile::tempdir().expect("a folder");
        fs::remove_dir_all(folder.path().join("target")).expect("it is removed");
        symlink(elsewhere.path(), folder.path().join("target")).expect("a link");
        assert_eq!(are_there(), [true, true]);
    }
}
