//! Files of figures and drawings: read to a limit, written as a whole.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Read, Write},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
};
use tempfile::{Builder, NamedTempFile};

/// The largest file that is read: many times what all figures take.
const LIMIT: u64 = 64 << 20;

/// Reads a file with figures, or what comes through a pipe.
pub(crate) fn read(name: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(name)?
        .take(LIMIT + 1)
        .read_to_string(&mut text)?;
    if length as u64 > LIMIT {
        return Err(io::Error::other(format!(
            "it has more than {} MiB",
            LIMIT >> 20
        )));
    }
    Ok(text)
}

/// A file that can be written, or replaced, as a whole.
#[derive(Debug)]
pub(crate) struct Destination {
    /// The option that it was given with.
    option: &'static str,
    /// As it was given.
    name: PathBuf,
    /// Where it is, if the name is a link.
    target: PathBuf,
}

/// A file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} cannot be written ({reason}): pass {option} a file in a folder where you may write",
    name.display()
)]
pub(crate) struct WriteError {
    option: &'static str,
    name: PathBuf,
    reason: io::Error,
}

impl Destination {
    /// Makes sure that the file can be written, and leaves it as it is.
    pub(crate) fn check(option: &'static str, name: &Path) -> Result<Self, WriteError> {
        Self::try_check(option, name).map_err(|reason| WriteError {
            option,
            name: name.to_owned(),
            reason,
        })
    }

    fn try_check(option: &'static str, name: &Path) -> io::Result<Self> {
        if name.file_name().is_none() || name.as_os_str().as_bytes().ends_with(b"/") {
            return Err(io::Error::other("it names no file"));
        }
        let target = match fs::metadata(name) {
            Ok(found) if found.is_dir() => return Err(ErrorKind::IsADirectory.into()),
            // Replacing a device or a pipe would take it away from its other users.
            Ok(found) if !found.is_file() => return Err(io::Error::other("it is no plain file")),
            Ok(_) => {
                OpenOptions::new().append(true).open(name)?;
                name.canonicalize()?
            }
            Err(error) if error.kind() == ErrorKind::NotFound => name.to_owned(),
            Err(error) => return Err(error),
        };
        let destination = Self {
            option,
            name: name.to_owned(),
            target,
        };
        // Deleted at once, so that nothing is left behind however this process ends.
        destination.temporary()?;
        Ok(destination)
    }

    /// A new file beside the target, which goes away unless it is put in its place.
    fn temporary(&self) -> io::Result<NamedTempFile> {
        let folder = match self.target.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let permissions = match fs::metadata(&self.target) {
            Ok(found) => found.permissions(),
            // What every new file has; the process's mask takes away from it.
            Err(_) => Permissions::from_mode(0o666),
        };
        Builder::new()
            .prefix(".figures-")
            .permissions(permissions)
            .tempfile_in(folder)
    }

    /// Writes the file: readers find what was there before or all of `text`.
    pub(crate) fn write(&self, text: &str) -> Result<(), WriteError> {
        let write = || {
            let mut file = self.temporary()?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&self.target)?;
            Ok(())
        };
        write().map_err(|reason| WriteError {
            option: self.option,
            name: self.name.clone(),
            reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(folder: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| {
            let name = entry.expect("an entry").file_name();
            name.into_string().expect("text")
        };
        let mut names: Vec<_> = fs::read_dir(folder).expect("a folder").map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_file_appears_with_its_text_and_nothing_before() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("new.json");
        let destination = Destination::check("--json", &path).expect("it can be written");
        assert!(names(folder.path()).is_empty());
        destination.write("text").expect("it is written");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "text");
        assert_eq!(names(folder.path()), ["new.json"]);
    }

    #[test]
    fn a_file_is_replaced_where_it_is_with_the_rights_that_it_had() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let (path, link) = (folder.path().join("old.json"), folder.path().join("link"));
        fs::write(&path, "a longer text").expect("a file is made");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("rights are given");
        symlink(&path, &link).expect("a link is made");
        let destination = Destination::check("--json", &link).expect("it can be written");
        let kept = fs::read_to_string(&path).expect("it is there");
        assert_eq!(kept, "a longer text", "a check changes nothing");
        destination.write("text").expect("it is written");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "text");
        let mode = fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o640);
        assert!(link.is_symlink(), "the link is still one");
        assert_eq!(names(folder.path()), ["link", "old.json"]);
    }

    #[test]
    fn what_cannot_be_written_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let new_folder = format!("{}/new/", folder.path().display());
        for name in [
            "",
            "/",
            "..",
            "/dev/null",
            "/proc/counts.json",
            "/no/such/folder/counts.json",
            folder.path().to_str().expect("text"),
            &new_folder,
        ] {
            let error = Destination::check("--json", Path::new(name)).expect_err(name);
            let sentence = error.to_string();
            assert!(sentence.contains(name), "{name}: {sentence}");
            assert!(sentence.contains("--json"), "{name}: {sentence}");
        }
        assert!(names(folder.path()).is_empty());
    }
}
