//! What the figures are exact for: the versions of what made them.

use super::counts::RUNTIMES;
use crate::{
    process::{self, Keep, ProcessError, Scope},
    stop::StopToken,
    toolchain::{GuestToolchain, TARGET},
    vmm::{RunError, qemu},
    workspace::Workspace,
};
use cargo_metadata::MetadataCommand;
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::{collections::BTreeMap, fmt, path::Path, time::Duration};

/// How long cargo may take to say what it has built; it may have to fetch other targets' packages.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// The packages that every runtime's figures depend on.
const COMMON: &[&str] = &["dormir", "rlsf"];

/// Names and versions, in the order in which they are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Versions(Vec<(String, String)>);

/// Why the versions are not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum VersionsError {
    /// Cargo did not run to its end.
    #[error("the versions of the guests' packages cannot be found out: {0}")]
    Process(#[from] ProcessError),
    /// Cargo failed, and has said why on standard error.
    #[error(
        "the versions of the guests' packages cannot be found out: cargo failed ({0}) and says above \
         why"
    )]
    Cargo(std::process::ExitStatus),
    /// Cargo said something that cannot be understood.
    #[error("cargo's report on the guests' packages cannot be read ({0}): update cargo")]
    Report(#[from] cargo_metadata::Error),
    /// A package is not there.
    #[error(
        "the packages have no `{0}`, which is measured: look into Cargo.lock in guest-image, \
         guest-image/hyperlight or host-harness/hyperlight"
    )]
    Missing(&'static str),
    /// QEMU cannot be asked.
    #[error(transparent)]
    Qemu(#[from] RunError),
}

impl Versions {
    /// The versions of the compiler, its library, QEMU and the packages that are counted.
    pub(super) fn gather(
        toolchain: &GuestToolchain,
        workspace: &Workspace,
        stop: &StopToken,
    ) -> Result<Self, VersionsError> {
        let qemu = qemu::probe()?;
        let wanted: Vec<_> = wanted().collect();
        let mut versions = Self::of_packages(toolchain, workspace, &wanted, stop)?;
        versions.0.insert(2, ("qemu".into(), qemu));
        Ok(versions)
    }

    /// The versions of the compiler, its library and these packages.
    pub(super) fn of_packages(
        toolchain: &GuestToolchain,
        workspace: &Workspace,
        wanted: &[&'static str],
        stop: &StopToken,
    ) -> Result<Self, VersionsError> {
        let mut versions = vec![
            ("rustc".into(), rustc(toolchain)),
            ("core".into(), core(toolchain)),
        ];
        let metadata = metadata(toolchain, &workspace.guest(), stop)?;
        versions.extend(packages(&metadata, wanted)?);
        Ok(Self(versions))
    }

    /// The versions of the compiler, its library and the packages of Hyperlight's guest and host.
    pub(super) fn of_hyperlight(
        toolchain: &GuestToolchain,
        workspace: &Workspace,
        stop: &StopToken,
    ) -> Result<Self, VersionsError> {
        let mut versions = vec![
            ("rustc".into(), rustc(toolchain)),
            ("core".into(), core(toolchain)),
        ];
        for (folder, wanted) in [
            (
                workspace.hyperlight_guest(),
                &["dormir", "hyperlight-guest-bin"][..],
            ),
            (
                workspace.hyperlight_host(),
                &["dormir-hyperlight-host", "hyperlight-host"],
            ),
        ] {
            let metadata = metadata(toolchain, &folder, stop)?;
            versions.extend(packages(&metadata, wanted)?);
        }
        Ok(Self(versions))
    }

    /// The versions by name.
    pub(super) fn to_map(&self) -> BTreeMap<String, String> {
        self.0.iter().cloned().collect()
    }

    #[cfg(test)]
    pub(super) fn for_test(versions: &[(&str, &str)]) -> Self {
        let own = |(name, version): &(&str, &str)| ((*name).into(), (*version).into());
        Self(versions.iter().map(own).collect())
    }
}

/// One after another, separated by commas.
impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, version)) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { ", " };
            write!(f, "{gap}{name} {version}")?;
        }
        Ok(())
    }
}

/// A map from names to versions.
impl Serialize for Versions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, version) in &self.0 {
            map.serialize_entry(name, version)?;
        }
        map.end()
    }
}

/// The compiler's version without its place, which is another on each machine.
fn rustc(toolchain: &GuestToolchain) -> String {
    let (GuestToolchain::Target(compiler) | GuestToolchain::BuildStd { compiler, .. }) = toolchain;
    let text = compiler.to_string();
    let version = text
        .split_once(" in ")
        .map_or(&*text, |(version, _)| version);
    version.strip_prefix("rustc ").unwrap_or(version).to_owned()
}

/// The version of the guests' `core`, which is its compiler's, and how it came about.
fn core(toolchain: &GuestToolchain) -> String {
    let version = rustc(toolchain);
    let release = version.split(' ').next().unwrap_or(&version);
    let origin = match toolchain {
        GuestToolchain::Target(_) => "precompiled",
        GuestToolchain::BuildStd { .. } => "built with the guest",
    };
    format!("{release} ({origin})")
}

/// What cargo says of the packages of the workspace in `folder`, as JSON.
fn metadata(
    toolchain: &GuestToolchain,
    folder: &Path,
    stop: &StopToken,
) -> Result<String, VersionsError> {
    let mut command = toolchain.command();
    command
        .args(["metadata", "--format-version", "1", "--locked", "--quiet"])
        .args(["--filter-platform", TARGET])
        .current_dir(folder);
    let cargo = process::capture(&mut command, Keep::StdoutOnly, Scope::Group, LIMIT, stop)?;
    if !cargo.status.success() {
        return Err(VersionsError::Cargo(cargo.status));
    }
    Ok(cargo.output)
}

/// Names and versions of the packages that matter. Where cargo has built several versions of one, all
/// are named.
fn packages(
    metadata: &str,
    wanted: &[&'static str],
) -> Result<Vec<(String, String)>, VersionsError> {
    let metadata = MetadataCommand::parse(metadata)?;
    let versions = wanted.iter().map(|&wanted| {
        let packages = metadata.packages.iter();
        let versions: Vec<String> = packages
            .filter(|package| package.name.as_str() == wanted)
            .map(|package| package.version.to_string())
            .collect();
        match versions.as_slice() {
            [] => Err(VersionsError::Missing(wanted)),
            _ => Ok((wanted.to_owned(), versions.join(" and "))),
        }
    });
    versions.collect()
}

/// The names of the packages that matter.
fn wanted() -> impl Iterator<Item = &'static str> {
    let counted = RUNTIMES.iter().flat_map(|runtime| runtime.packages);
    let others = counted.filter(|package| !COMMON.contains(package));
    COMMON.iter().chain(others).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::Compiler;

    #[test]
    fn a_compilers_version_is_shown_without_its_place() {
        let target = GuestToolchain::Target(Compiler::for_test());
        assert_eq!(rustc(&target), "9.8.7");
        assert_eq!(core(&target), "9.8.7 (precompiled)");
        let source = GuestToolchain::BuildStd {
            compiler: Compiler::for_test(),
            linker: "/bin/ld.lld".into(),
        };
        assert_eq!(core(&source), "9.8.7 (built with the guest)");
    }

    #[test]
    fn versions_are_a_list_for_people() {
        let versions = Versions::for_test(&[("rustc", "9.8.7"), ("qemu", "1.2.3")]);
        assert_eq!(versions.to_string(), "rustc 9.8.7, qemu 1.2.3");
    }

    /// What cargo says, as far as it is asked for, of packages with these names and versions.
    fn said(found: &[(&str, &str)]) -> String {
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
    fn packages_are_found_by_name_in_every_version_that_was_built() {
        let mut found: Vec<_> = wanted().map(|name| (name, "1.0.0")).collect();
        found.push(("something-else", "3.0.0"));
        found.push(("embassy-executor", "4.0.0"));
        let wanted: Vec<_> = wanted().collect();
        let packages = packages(&said(&found), &wanted).expect("all are there");
        let names: Vec<_> = packages.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, wanted);
        assert_eq!(packages[0], ("dormir".into(), "1.0.0".into()));
        let embassy = ("embassy-executor".into(), "1.0.0 and 4.0.0".into());
        assert!(packages.contains(&embassy), "{packages:?}");
    }

    #[test]
    fn a_package_that_is_not_there_is_named() {
        let error = packages(&said(&[("dormir", "1.0.0")]), &["dormir", "rlsf"])
            .expect_err("most are missing");
        assert!(error.to_string().contains("`rlsf`"), "{error}");
    }
}
