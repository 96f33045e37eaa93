//! Decides what to install next, from what is installed and what was tried.

use super::step::{Chromium, Distribution, Privilege, SetupStep, Software};
use crate::toolchain::{GuestToolchain, GuestToolchainError};

/// What a command needs, besides a way to build guests, which every one needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// QEMU.
    pub qemu: bool,
    /// The program that connects networks of our own VMM.
    pub passt: bool,
    /// A browser.
    pub browser: bool,
}

/// What is installed on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// How guests can be built, or why they cannot.
    pub(super) toolchain: Result<GuestToolchain, GuestToolchainError>,
    /// QEMU, if it is needed.
    pub(super) qemu: Availability,
    /// `passt`, if it is needed.
    pub(super) passt: Availability,
    /// A browser, if it is needed.
    pub(super) browser: Availability,
    /// Whether `rustup` is installed.
    pub(super) rustup: bool,
    /// How packages can be installed.
    pub(super) apt: Apt,
    /// The package of the distribution's compiler on this machine.
    pub(super) distribution: Option<Distribution>,
}

/// Whether a program can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Availability {
    /// It can be used, or it is not needed.
    Usable,
    /// It is not installed.
    Missing,
    /// It is installed, or was named, and cannot be used; installing packages does not change that.
    Unusable(String),
}

/// How the distribution's packages can be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Apt {
    /// There is no `apt-get`.
    Missing,
    /// This user is root.
    Root,
    /// With `sudo`.
    Sudo,
    /// This user is not root, and there is no `sudo`.
    NotRoot,
}

/// The decision that follows from the facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing is missing.
    Ready(GuestToolchain),
    /// This is the next step.
    Do(SetupStep),
    /// Nothing more can be done; the sentence says what is missing.
    Lacking(String),
}

/// Decides what to do next. No step is repeated.
pub(super) fn next(facts: &Facts, needs: Needs, tried: &[SetupStep]) -> Decision {
    match &facts.toolchain {
        Err(lack) => for_toolchain(lack, facts, tried),
        Ok(toolchain) => for_qemu(facts, needs, tried)
            .or_else(|| for_browser(facts, needs, tried))
            .or_else(|| for_passt(facts, needs, tried))
            .unwrap_or(Decision::Ready(toolchain.clone())),
    }
}

/// Returns what is to be installed, one item for each thing that is missing.
pub(super) fn missing(facts: &Facts, needs: Needs) -> Vec<Decision> {
    // Names the installations themselves, not the update of the package lists.
    let tried = &[Privilege::Root, Privilege::Sudo].map(SetupStep::UpdatePackages);
    let toolchain = facts.toolchain.as_ref().err();
    toolchain
        .map(|lack| for_toolchain(lack, facts, tried))
        .into_iter()
        .chain(for_qemu(facts, needs, tried))
        .chain(for_browser(facts, needs, tried))
        .chain(for_passt(facts, needs, tried))
        .collect()
}

fn for_toolchain(lack: &GuestToolchainError, facts: &Facts, tried: &[SetupStep]) -> Decision {
    if facts.rustup && !tried.contains(&SetupStep::AddTarget) {
        return Decision::Do(SetupStep::AddTarget);
    }
    let distribution = facts.distribution.unwrap_or_default();
    by_package(
        facts.apt,
        tried,
        &[Software::Toolchain(distribution)],
        &lack.lack(),
    )
}

/// Decides what to do about QEMU; `None` if it is not needed or can be used.
fn for_qemu(facts: &Facts, needs: Needs, tried: &[SetupStep]) -> Option<Decision> {
    match &facts.qemu {
        Availability::Missing if needs.qemu => Some(by_package(
            facts.apt,
            tried,
            &[Software::Qemu],
            "QEMU is missing",
        )),
        Availability::Unusable(sentence) if needs.qemu => Some(Decision::Lacking(sentence.clone())),
        _ => None,
    }
}

/// Decides what to do about `passt`; `None` if it is not needed or installed.
fn for_passt(facts: &Facts, needs: Needs, tried: &[SetupStep]) -> Option<Decision> {
    let is_missing = needs.passt && facts.passt == Availability::Missing;
    is_missing.then(|| by_package(facts.apt, tried, &[Software::Passt], "passt is missing"))
}

/// Decides what to do about a browser; `None` if it is not needed or can be used.
fn for_browser(facts: &Facts, needs: Needs, tried: &[SetupStep]) -> Option<Decision> {
    match &facts.browser {
        Availability::Missing if needs.browser => {
            let ways = [Chromium::HeadlessShell, Chromium::Whole].map(Software::Browser);
            Some(by_package(facts.apt, tried, &ways, "a browser is missing"))
        }
        Availability::Unusable(sentence) if needs.browser => {
            Some(Decision::Lacking(sentence.clone()))
        }
        _ => None,
    }
}

/// Decides to install the first of some packages that can be installed, after one update of the
/// package lists.
fn by_package(apt: Apt, tried: &[SetupStep], ways: &[Software], lack: &str) -> Decision {
    let otherwise = ways[0].otherwise();
    let privilege = match apt {
        Apt::Root => Privilege::Root,
        Apt::Sudo => Privilege::Sudo,
        Apt::NotRoot => {
            let command = ways[0].by_hand();
            return Decision::Lacking(format!(
                "{lack}, and only root may install packages: let root run `{command}`, or \
                 {otherwise}"
            ));
        }
        Apt::Missing => {
            return Decision::Lacking(format!("{lack}, and there is no apt-get here: {otherwise}"));
        }
    };
    let update = SetupStep::UpdatePackages(privilege);
    if !tried.contains(&update) {
        return Decision::Do(update);
    }
    let mut steps = ways
        .iter()
        .map(|&software| SetupStep::Install(privilege, software));
    match steps.find(|step| !tried.contains(step)) {
        Some(step) => Decision::Do(step),
        None => Decision::Lacking(format!(
            "{lack}, and the steps above have not changed that: see their messages, or {otherwise}"
        )),
    }
}
