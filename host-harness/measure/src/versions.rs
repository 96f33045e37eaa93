//! What the figures are exact for: the versions of what made them.

use super::counts::RUNTIMES;
use dormir_harness::{
    packages::{self, PackagesError},
    toolchain::GuestToolchain,
    vmm::{RunError, StopToken, qemu},
    workspace::Workspace,
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::{collections::BTreeMap, fmt};

/// The packages that every runtime's figures depend on.
const COMMON: &[&str] = &["dormir", "rlsf"];

/// Names and versions, in the order in which they are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Versions(Vec<(String, String)>);

/// Why the versions are not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum VersionsError {
    /// Those of packages.
    #[error(transparent)]
    Packages(#[from] PackagesError),
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
            ("rustc".into(), toolchain.version().to_owned()),
            ("core".into(), core(toolchain)),
        ];
        versions.extend(packages::versions(
            toolchain,
            &workspace.guest(),
            wanted,
            stop,
        )?);
        Ok(Self(versions))
    }

    /// The versions of the compiler, its library and the packages of Hyperlight's guest and host.
    pub(super) fn of_hyperlight(
        toolchain: &GuestToolchain,
        workspace: &Workspace,
        stop: &StopToken,
    ) -> Result<Self, VersionsError> {
        let mut versions = vec![
            ("rustc".into(), toolchain.version().to_owned()),
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
            versions.extend(packages::versions(toolchain, &folder, wanted, stop)?);
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

/// The version of the guests' `core`, which is its compiler's, and how it came about.
fn core(toolchain: &GuestToolchain) -> String {
    let version = toolchain.version();
    let release = version.split(' ').next().unwrap_or(version);
    let origin = match toolchain {
        GuestToolchain::Target(_) => "precompiled",
        GuestToolchain::BuildStd { .. } => "built with the guest",
    };
    format!("{release} ({origin})")
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

    #[test]
    fn versions_are_a_list_for_people() {
        let versions = Versions::for_test(&[("rustc", "9.8.7"), ("qemu", "1.2.3")]);
        assert_eq!(versions.to_string(), "rustc 9.8.7, qemu 1.2.3");
    }
}
