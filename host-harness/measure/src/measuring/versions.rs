//! What the figures are exact for: the versions of what made them.

use crate::document::{Versions, counts::RUNTIMES};
use dormir_harness::{
    packages::{self, PackagesError},
    toolchain::GuestToolchain,
    vmm::{RunError, StopToken, qemu},
    workspace::Workspace,
};

use std::{env, process::Command};

/// The packages that every runtime's figures depend on.
const COMMON: &[&str] = &["dormir", "rlsf"];

/// Why the versions are not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VersionsError {
    /// The packages' versions are not known.
    #[error(transparent)]
    Packages(#[from] PackagesError),
    /// QEMU cannot be asked.
    #[error(transparent)]
    Qemu(#[from] RunError),
}

/// The versions of the compiler, its library, QEMU and the packages that are counted.
pub(crate) fn of_counts(
    toolchain: &GuestToolchain,
    workspace: &Workspace,
    stop: &StopToken,
) -> Result<Versions, VersionsError> {
    let qemu = qemu::probe()?;
    let wanted: Vec<_> = wanted().collect();
    let mut versions = of_packages(toolchain, workspace, &wanted, stop)?;
    versions.insert("qemu".into(), qemu);
    Ok(versions)
}

/// The versions of the compiler, its library and these packages of guests.
pub(crate) fn of_packages(
    toolchain: &GuestToolchain,
    workspace: &Workspace,
    wanted: &[&'static str],
    stop: &StopToken,
) -> Result<Versions, VersionsError> {
    let mut versions = of_compiler(toolchain);
    versions.extend(packages::versions(
        toolchain,
        &workspace.guest(),
        wanted,
        stop,
    )?);
    Ok(versions)
}

/// The versions of the compiler, its library and the packages of Hyperlight's guest and host.
pub(crate) fn of_hyperlight(
    toolchain: &GuestToolchain,
    workspace: &Workspace,
    stop: &StopToken,
) -> Result<Versions, VersionsError> {
    let guest = ["dormir", "hyperlight-guest-bin"];
    let host = ["dormir-hyperlight-host", "hyperlight-host"];
    let mut versions = of_compiler(toolchain);
    for (folder, wanted) in [
        (workspace.hyperlight_guest(), guest),
        (workspace.hyperlight_host(), host),
    ] {
        versions.extend(packages::versions(toolchain, &folder, &wanted, stop)?);
    }
    Ok(versions)
}

/// The versions of what `--io` measures.
pub(crate) fn of_io(
    toolchain: &GuestToolchain,
    workspace: &Workspace,
    stop: &StopToken,
) -> Result<Versions, VersionsError> {
    let guest = ["dormir", "embassy-net", "picoserve"];
    let mut versions = of_packages(toolchain, workspace, &guest, stop)?;
    versions.extend(packages::host_versions(
        workspace,
        &["hyper", "tokio"],
        stop,
    )?);
    Ok(versions)
}

fn of_compiler(toolchain: &GuestToolchain) -> Versions {
    let rustc = ("rustc".to_owned(), toolchain.version().to_owned());
    [rustc, ("core".to_owned(), core(toolchain))].into()
}

/// The version of the guests' `core`, which is its compiler's, and how it was built.
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

/// The packages that are compared natively.
const NATIVE: &[&str] = &[
    "dormir",
    "embassy-executor",
    "tokio",
    "async-executor",
    "futures",
];

/// The versions of what the native bench compares, and of the compiler in PATH.
pub(crate) fn of_native(
    workspace: &Workspace,
    stop: &StopToken,
) -> Result<Versions, VersionsError> {
    let versions = packages::host_versions(workspace, NATIVE, stop)?;
    let mut versions: Versions = versions.into_iter().collect();
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().ok();
    let text = output.and_then(|output| String::from_utf8(output.stdout).ok());
    if let Some(version) = text
        .as_deref()
        .and_then(|text| text.trim().strip_prefix("rustc "))
    {
        versions.insert("rustc".into(), version.to_owned());
    }
    Ok(versions)
}
