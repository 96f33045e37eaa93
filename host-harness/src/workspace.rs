//! Finds the project's sources.

use std::{
    env,
    path::{Path, PathBuf},
};

/// A checkout of the project.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
}

/// No checkout of the project was found.
#[derive(Debug, thiserror::Error)]
#[error(
    "this needs a checkout of dormir, and {} is none: run it inside a checkout",
    root.display()
)]
pub struct WorkspaceError {
    root: PathBuf,
}

impl Workspace {
    /// Finds the checkout of the package that cargo runs, else the one around the current folder,
    /// else the one from which this program was built.
    ///
    /// They differ if several checkouts share a target folder, if one was moved, and if this
    /// program is installed.
    ///
    /// # Errors
    ///
    /// None of them exists.
    pub fn locate() -> Result<Self, WorkspaceError> {
        let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let folders = [package, env::current_dir().ok()];
        let found = folders
            .iter()
            .flatten()
            .find_map(|folder| Self::around(folder));
        if let Some(found) = found {
            return Ok(found);
        }
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self::at(package.parent().unwrap_or(package))
    }

    /// Finds the checkout that contains a folder.
    pub(crate) fn around(folder: &Path) -> Option<Self> {
        folder.ancestors().find_map(|above| Self::at(above).ok())
    }

    /// Opens the checkout in the folder `root`.
    ///
    /// # Errors
    ///
    /// The folder has no guest workspace.
    pub fn at(root: impl Into<PathBuf>) -> Result<Self, WorkspaceError> {
        let workspace = Self { root: root.into() };
        if workspace.guest().join("Cargo.toml").is_file() {
            Ok(workspace)
        } else {
            Err(WorkspaceError {
                root: workspace.root,
            })
        }
    }

    /// Returns the top folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the guests' workspace, which is separate from the host's: another target, other
    /// profiles.
    #[must_use]
    pub fn guest(&self) -> PathBuf {
        self.root.join("guest-image")
    }

    /// Returns cargo's target folder for guests.
    #[must_use]
    pub fn guest_target(&self) -> PathBuf {
        self.root.join("target").join("guest")
    }

    /// Returns the folder of what fuzzing makes: programs, inputs and findings.
    #[must_use]
    pub fn fuzz_target(&self) -> PathBuf {
        self.root.join("target").join("fuzz")
    }

    /// Returns the package of the Hyperlight guest, which is separate from the other guests: its
    /// flags, panic handler and allocator differ.
    #[must_use]
    pub fn hyperlight_guest(&self) -> PathBuf {
        self.guest().join("hyperlight")
    }

    /// Returns the workspace of the code that runs in a Hyperlight host.
    #[must_use]
    pub fn hyperlight_host(&self) -> PathBuf {
        self.root.join("host-harness").join("hyperlight")
    }

    /// Returns cargo's folder for a part of the Hyperlight build. Each mode has its own for the
    /// finished programs, which have the same names; what they are built of is in `host`.
    #[must_use]
    pub fn hyperlight_target(&self, part: &str) -> PathBuf {
        self.root.join("target").join("hyperlight").join(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_folder_without_guests_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let error = Workspace::at(folder.path()).expect_err("it is empty");
        let name = folder.path().display().to_string();
        assert!(error.to_string().contains(&name), "{error}");
    }

    #[test]
    fn a_package_finds_the_checkout_around_it() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let guest = folder.path().join("guest-image");
        let package = folder.path().join("host-harness");
        for new in [&guest, &package] {
            fs::create_dir(new).expect("a folder is made");
        }
        assert!(Workspace::around(&package).is_none());
        fs::write(guest.join("Cargo.toml"), "").expect("a file is made");
        for inside in [&package, &guest, &folder.path().to_path_buf()] {
            let found = Workspace::around(inside).expect("it is found");
            assert_eq!(found.root(), folder.path());
        }
    }
}
