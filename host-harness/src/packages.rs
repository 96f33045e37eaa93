//! The versions of the packages that guests, and what is measured beside them, are built from.

use crate::{
    host_cargo,
    process::{self, Keep, ProcessError, Scope},
    stop::StopToken,
    toolchain::{GuestToolchain, TARGET},
    workspace::Workspace,
};
use cargo_metadata::MetadataCommand;
use std::{path::Path, process::Command, time::Duration};

/// How long cargo may take to list packages; it may have to fetch other targets' packages.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// Why the versions are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackagesError {
    /// Cargo did not run to its end.
    #[error("the versions of the packages that are measured cannot be found out: {0}")]
    Process(#[from] ProcessError),
    /// Cargo failed, and has said why on standard error.
    #[error(
        "the versions of the packages that are measured cannot be found out: cargo failed ({0}) and says \
         above why"
    )]
    Cargo(std::process::ExitStatus),
    /// Cargo reported something that cannot be understood.
    #[error("cargo's report on the packages that are measured cannot be read ({0}): update cargo")]
    Report(#[from] cargo_metadata::Error),
    /// A package is not there.
    #[error(
        "the packages have no `{0}`, which is measured: look into Cargo.lock in guest-image, \
         guest-image/hyperlight, host-harness/hyperlight or the top folder"
    )]
    Missing(&'static str),
}

/// The names and versions of the packages `wanted` of the workspace in `folder`. Where cargo builds
/// several versions of one, all are named.
///
/// # Errors
///
/// Cargo failed, or a package is not there.
pub fn versions(
    toolchain: &GuestToolchain,
    folder: &Path,
    wanted: &[&'static str],
    stop: &StopToken,
) -> Result<Vec<(String, String)>, PackagesError> {
    let mut command = toolchain.command();
    command
        .args(["metadata", "--locked", "--filter-platform", TARGET])
        .current_dir(folder);
    ask(&mut command, wanted, stop)
}

/// The same of the packages that a checkout's host packages are built from.
///
/// # Errors
///
/// Cargo failed, or a package is not there.
pub fn host_versions(
    workspace: &Workspace,
    wanted: &[&'static str],
    stop: &StopToken,
) -> Result<Vec<(String, String)>, PackagesError> {
    ask(&mut host_cargo::cargo(workspace, "metadata"), wanted, stop)
}

fn ask(
    command: &mut Command,
    wanted: &[&'static str],
    stop: &StopToken,
) -> Result<Vec<(String, String)>, PackagesError> {
    command.args(["--format-version", "1", "--quiet"]);
    let cargo = process::capture(command, Keep::StdoutOnly, Scope::Group, LIMIT, stop)?;
    if !cargo.status.success() {
        return Err(PackagesError::Cargo(cargo.status));
    }
    versions_in(&cargo.output, wanted)
}

fn versions_in(
    metadata: &str,
    wanted: &[&'static str],
) -> Result<Vec<(String, String)>, PackagesError> {
    let metadata = MetadataCommand::parse(metadata)?;
    let versions = wanted.iter().map(|&wanted| {
        let packages = metadata.packages.iter();
        let versions: Vec<String> = packages
            .filter(|package| package.name.as_str() == wanted)
            .map(|package| package.version.to_string())
            .collect();
        match versions.as_slice() {
            [] => Err(PackagesError::Missing(wanted)),
            _ => Ok((wanted.to_owned(), versions.join(" and "))),
        }
    });
    versions.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cargo's report, as far as it is asked for, on packages with these names and versions.
    fn report(found: &[(&str, &str)]) -> String {
        let package = |(name, version): &(&str, &str)| {
            serde_json::json!({
                "name": name, "version": version, "id": format!("{name}@{version}"),
                "dependencies": [], "targets": [], "features": {}, "manifest_path": "/Cargo.toml",
            })
        };
        let packages: Vec<_> = found.iter().map(package).collect();
        serde_json::json!({
            "packages": packages, "workspace_members": [], "resolve": null,
            "workspace_root": "/", "target_directory": "/target", "version": 1,
        })
        .to_string()
    }

    #[test]
    fn packages_are_found_by_name_in_every_version_that_is_built() {
        let found = [
            ("rlsf", "1.0.0"),
            ("embassy-executor", "1.0.0"),
            ("something-else", "3.0.0"),
            ("embassy-executor", "4.0.0"),
        ];
        let versions = versions_in(&report(&found), &["embassy-executor", "rlsf"]);
        let expected = [("embassy-executor", "1.0.0 and 4.0.0"), ("rlsf", "1.0.0")];
        let expected = expected.map(|(name, version)| (name.to_owned(), version.to_owned()));
        assert_eq!(versions.expect("all are there"), expected);
    }

    #[test]
    fn a_package_that_is_not_there_is_named() {
        let error = versions_in(&report(&[("dormir", "1.0.0")]), &["dormir", "rlsf"])
            .expect_err("one is missing");
        assert!(error.to_string().contains("`rlsf`"), "{error}");
    }
}
