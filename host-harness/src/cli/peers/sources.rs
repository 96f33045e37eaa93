//! Where the suites' files are: in the published packages, or in a checkout of the user's.

use super::suites::Suite;
use crate::{
    host_cargo,
    process::{self, Keep, ProcessError, Scope},
    stop::StopToken,
    workspace::Workspace,
};
use cargo_metadata::{Metadata, MetadataCommand};
use std::{
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

/// How long cargo may take to download the packages.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// The suites' files are not to be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourcesError {
    #[error("the peers' packages cannot be downloaded: {0}")]
    Process(#[from] ProcessError),
    #[error("the peers' packages cannot be downloaded: cargo failed ({0}) and says above why")]
    Cargo(ExitStatus),
    #[error("cargo's report on the peers' packages cannot be read ({0}): update cargo")]
    Report(#[from] cargo_metadata::Error),
    #[error(
        "the peers' packages have no `{0}`: look into Cargo.lock in host-harness/peers/sources"
    )]
    Missing(&'static str),
    #[error(
        "{} has no tests of {wanted}: pass the top folder of a checkout as --path",
        path.display()
    )]
    NoCheckout { path: PathBuf, wanted: &'static str },
    #[error("{} cannot be read ({reason}), or has no test: see what is there", folder.display())]
    Unreadable { folder: PathBuf, reason: io::Error },
}

/// The files of a suite.
#[derive(Debug)]
pub(super) struct Source {
    /// A version, or a checkout's folder.
    pub(super) from: String,
    tests: PathBuf,
}

/// What the published packages contain.
pub(super) struct Published(Metadata);

impl Published {
    /// Downloads the packages, unless they are there.
    pub(super) fn download(workspace: &Workspace, stop: &StopToken) -> Result<Self, SourcesError> {
        let mut command = host_cargo::cargo(workspace, "metadata");
        command
            .args(["--format-version", "1", "--filter-platform"])
            .args(["x86_64-unknown-linux-gnu", "--quiet"])
            .current_dir(workspace.root().join("host-harness/peers/sources"));
        let cargo = process::capture(&mut command, Keep::StdoutOnly, Scope::Group, LIMIT, stop)?;
        if !cargo.status.success() {
            return Err(SourcesError::Cargo(cargo.status));
        }
        Ok(Self(MetadataCommand::parse(cargo.output)?))
    }

    pub(super) fn source(&self, suite: &Suite) -> Result<Source, SourcesError> {
        let mut packages = self.0.packages.iter();
        let package = packages.find(|package| package.name.as_str() == suite.name);
        let package = package.ok_or(SourcesError::Missing(suite.name))?;
        let manifest = package.manifest_path.as_std_path();
        let folder = manifest.parent().unwrap_or(manifest);
        Ok(Source {
            from: package.version.to_string(),
            tests: folder.join("tests"),
        })
    }
}

/// The files of a suite in a checkout, which has each package in a folder of its name.
pub(super) fn in_checkout(path: &Path, suite: &Suite) -> Option<Source> {
    let tests = path.join(suite.name).join("tests");
    let tests = tests.canonicalize().ok()?;
    Some(Source {
        from: path.display().to_string(),
        tests,
    })
}

impl Source {
    /// Returns Rust's list of the files, each as a module.
    pub(super) fn list(&self, suite: &Suite) -> Result<String, SourcesError> {
        let unreadable = |reason| SourcesError::Unreadable {
            folder: self.tests.clone(),
            reason,
        };
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.tests).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            let name = file.file_stem().and_then(|name| name.to_str());
            if let Some(name) = name
                && file.extension().is_some_and(|kind| kind == "rs")
                && suite.left_out.iter().all(|(left_out, _)| *left_out != name)
            {
                files.push((name.replace('-', "_"), file.clone()));
            }
        }
        if files.is_empty() {
            return Err(unreadable(io::ErrorKind::NotFound.into()));
        }
        files.sort();
        let mut list = String::new();
        for (name, file) in files {
            // Into a string, which cannot fail.
            let _ = writeln!(list, "#[path = {file:?}]\nmod {name};");
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::super::suites::SUITES;
    use super::*;

    #[test]
    fn a_list_has_the_files_of_a_checkout_but_for_those_left_out() {
        let checkout = tempfile::tempdir().expect("a folder");
        let suite = &SUITES[0];
        assert!(in_checkout(checkout.path(), suite).is_none());
        let tests = checkout.path().join("futures/tests");
        fs::create_dir_all(&tests).expect("a folder");
        let source = in_checkout(checkout.path(), suite).expect("it is there");
        let error = source.list(suite).expect_err("there is no file");
        assert!(error.to_string().contains("has no test"), "{error}");
        for file in ["b-c.rs", "a.rs", "compat.rs", "README.md"] {
            fs::write(tests.join(file), "").expect("a file");
        }
        let folder = source.tests.display();
        assert_eq!(
            source.list(suite).expect("a list"),
            format!(
                "#[path = \"{folder}/a.rs\"]\nmod a;\n#[path = \"{folder}/b-c.rs\"]\nmod b_c;\n"
            )
        );
    }
}
