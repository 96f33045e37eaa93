//! What to install next, decided from what is there and what was tried.

use super::step::{Chromium, Distribution, Privilege, Software, Step};
use crate::toolchain::{GuestToolchain, NoGuestToolchain};

/// What a command needs. Every command that sets up needs a way to build guests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// QEMU.
    pub qemu: bool,
    /// A browser.
    pub browser: bool,
}

/// What is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// How guests can be built, or why they cannot.
    pub(super) toolchain: Result<GuestToolchain, NoGuestToolchain>,
    /// QEMU, where it is needed.
    pub(super) qemu: Program,
    /// A browser, where it is needed.
    pub(super) browser: Program,
    /// Whether `rustup` is there.
    pub(super) rustup: bool,
    /// How packages can be installed.
    pub(super) apt: Apt,
    /// The package that a distribution's compiler on this machine is from.
    pub(super) distribution: Option<Distribution>,
}

/// Whether a program can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// It can, or it is not needed.
    Usable,
    /// It is not installed.
    Missing,
    /// It is there, or was named, and cannot be used; installing changes nothing about it.
    Unusable(String),
}

/// How a distribution's packages can be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Apt {
    /// There is no `apt-get`.
    Missing,
    /// This user is root.
    Root,
    /// By way of `sudo`.
    Sudo,
    /// This user is not root, and there is no `sudo`.
    NotRoot,
}

/// What follows from the facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing is missing.
    Ready(GuestToolchain),
    /// This is to be done next.
    Do(Step),
    /// Nothing more can be done; the sentence says what is missing.
    Lacking(String),
}

/// Decides what to do next. No step is done twice.
pub(super) fn next(facts: &Facts, needs: Needs, tried: &[Step]) -> Next {
    match &facts.toolchain {
        Err(lack) => for_toolchain(lack, facts, tried),
        Ok(toolchain) => for_qemu(facts, needs, tried)
            .or_else(|| for_browser(facts, needs, tried))
            .unwrap_or(Next::Ready(toolchain.clone())),
    }
}

/// What would be installed, one item for each thing that is missing, if that were allowed.
pub(super) fn missing(facts: &Facts, needs: Needs) -> Vec<Next> {
    // What is forbidden is the installation itself, so that is what is to be named.
    let tried = &[Privilege::Root, Privilege::Sudo].map(Step::UpdatePackages);
    let toolchain = facts.toolchain.as_ref().err();
    toolchain
        .map(|lack| for_toolchain(lack, facts, tried))
        .into_iter()
        .chain(for_qemu(facts, needs, tried))
        .chain(for_browser(facts, needs, tried))
        .collect()
}

fn for_toolchain(lack: &NoGuestToolchain, facts: &Facts, tried: &[Step]) -> Next {
    if facts.rustup && !tried.contains(&Step::AddTarget) {
        return Next::Do(Step::AddTarget);
    }
    let distribution = facts.distribution.unwrap_or_default();
    by_package(
        facts.apt,
        tried,
        &[Software::Toolchain(distribution)],
        &lack.lack(),
    )
}

/// What to do about QEMU; nothing where it is not needed or can be used.
fn for_qemu(facts: &Facts, needs: Needs, tried: &[Step]) -> Option<Next> {
    match &facts.qemu {
        Program::Missing if needs.qemu => Some(by_package(
            facts.apt,
            tried,
            &[Software::Qemu],
            "QEMU is missing",
        )),
        Program::Unusable(sentence) if needs.qemu => Some(Next::Lacking(sentence.clone())),
        _ => None,
    }
}

/// What to do about a browser; nothing where it is not needed or can be used.
fn for_browser(facts: &Facts, needs: Needs, tried: &[Step]) -> Option<Next> {
    match &facts.browser {
        Program::Missing if needs.browser => {
            let ways = [Chromium::HeadlessShell, Chromium::Whole].map(Software::Browser);
            Some(by_package(facts.apt, tried, &ways, "a browser is missing"))
        }
        Program::Unusable(sentence) if needs.browser => Some(Next::Lacking(sentence.clone())),
        _ => None,
    }
}

/// Installs the first of some packages that can be, after one update of what is known about packages.
fn by_package(apt: Apt, tried: &[Step], ways: &[Software], lack: &str) -> Next {
    let otherwise = ways[0].otherwise();
    let privilege = match apt {
        Apt::Root => Privilege::Root,
        Apt::Sudo => Privilege::Sudo,
        Apt::NotRoot => {
            let command = ways[0].by_hand();
            return Next::Lacking(format!(
                "{lack}, and installing packages takes root's rights: let root run `{command}`, or \
                 {otherwise}"
            ));
        }
        Apt::Missing => {
            return Next::Lacking(format!("{lack}, and there is no apt-get here: {otherwise}"));
        }
    };
    let update = Step::UpdatePackages(privilege);
    if !tried.contains(&update) {
        return Next::Do(update);
    }
    let mut steps = ways
        .iter()
        .map(|&software| Step::Install(privilege, software));
    match steps.find(|step| !tried.contains(step)) {
        Some(step) => Next::Do(step),
        None => Next::Lacking(format!(
            "{lack}, and what was tried has not changed that: see above why, or {otherwise}"
        )),
    }
}
