//! What to install next, decided from what is there and what was tried.

use crate::toolchain::{GuestToolchain, NoGuestToolchain, TARGET};
use std::fmt;

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

/// The packages of a distribution that has two compilers: the one it builds itself with, and a
/// newer one (for web browsers). They cannot be installed at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Distribution {
    /// `rustc`.
    Plain,
    /// `rustc-web`: the newer one, and so the one to install where there is none.
    #[default]
    Web,
}

/// One thing that can be done about a lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Let rustup fetch the target's library.
    AddTarget,
    /// Let apt learn what packages there are.
    UpdatePackages(Privilege),
    /// Install a distribution's compiler with the library's source.
    InstallToolchain(Privilege, Distribution),
    /// Install QEMU.
    InstallQemu(Privilege, InTheWay),
    /// Install a browser.
    InstallBrowser(Privilege, Chromium),
}

/// The packages that a distribution has of Chromium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chromium {
    /// Without a window. Debian has it, and it is much smaller.
    HeadlessShell,
    /// All of it.
    Whole,
}

/// What becomes of installed packages that cannot stand beside a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InTheWay {
    /// They stay, and nothing is installed.
    Stay,
    /// They are removed. A `qemu-utils` newer than the distribution's QEMU is such a package.
    Go,
}

/// How a command that needs root's rights gets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Privilege {
    /// It has them.
    Root,
    /// `sudo`.
    Sudo,
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
    let tried = &Step::PREPARATIONS;
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
        |privilege| vec![Step::InstallToolchain(privilege, distribution)],
        &lack.lack(),
        &format!("install rustup and run `rustup target add {TARGET}`"),
    )
}

/// What to do about QEMU; nothing where it is not needed or can be used.
fn for_qemu(facts: &Facts, needs: Needs, tried: &[Step]) -> Option<Next> {
    match &facts.qemu {
        Program::Missing if needs.qemu => Some(by_package(
            facts.apt,
            tried,
            |privilege| {
                [InTheWay::Stay, InTheWay::Go]
                    .map(|in_the_way| Step::InstallQemu(privilege, in_the_way))
                    .to_vec()
            },
            "QEMU is missing",
            "install qemu-system-x86_64 with the means of this system",
        )),
        Program::Unusable(sentence) if needs.qemu => Some(Next::Lacking(sentence.clone())),
        _ => None,
    }
}

/// What to do about a browser; nothing where it is not needed or can be used.
fn for_browser(facts: &Facts, needs: Needs, tried: &[Step]) -> Option<Next> {
    match &facts.browser {
        Program::Missing if needs.browser => Some(by_package(
            facts.apt,
            tried,
            |privilege| {
                [Chromium::HeadlessShell, Chromium::Whole]
                    .map(|chromium| Step::InstallBrowser(privilege, chromium))
                    .to_vec()
            },
            "a browser is missing",
            "install chromium with the means of this system",
        )),
        Program::Unusable(sentence) if needs.browser => Some(Next::Lacking(sentence.clone())),
        _ => None,
    }
}

/// Installs packages in the first of some ways that works, after one update of what is known about
/// packages.
fn by_package(
    apt: Apt,
    tried: &[Step],
    ways: impl Fn(Privilege) -> Vec<Step>,
    lack: &str,
    remedy: &str,
) -> Next {
    let privilege = match apt {
        Apt::Root => Privilege::Root,
        Apt::Sudo => Privilege::Sudo,
        Apt::NotRoot => {
            let command = ways(Privilege::Root)[0];
            return Next::Lacking(format!(
                "{lack}, and installing packages takes root's rights: let root run `{command}`, or \
                 {remedy}"
            ));
        }
        Apt::Missing => {
            return Next::Lacking(format!("{lack}, and there is no apt-get here: {remedy}"));
        }
    };
    let update = Step::UpdatePackages(privilege);
    if !tried.contains(&update) {
        return Next::Do(update);
    }
    match ways(privilege).into_iter().find(|way| !tried.contains(way)) {
        Some(way) => Next::Do(way),
        None => Next::Lacking(format!(
            "{lack}, and what was tried has not changed that: see above why, or {remedy}"
        )),
    }
}

impl Distribution {
    fn packages(self) -> [&'static str; 4] {
        match self {
            Self::Plain => ["rustc", "cargo", "rust-src", "lld"],
            Self::Web => ["rustc-web", "cargo-web", "rust-web-src", "lld"],
        }
    }
}

impl Step {
    /// The steps that install nothing, but only make an installation find what is new.
    pub(super) const PREPARATIONS: [Self; 2] = [
        Self::UpdatePackages(Privilege::Root),
        Self::UpdatePackages(Privilege::Sudo),
    ];

    /// The program and its arguments.
    pub(super) fn words(&self) -> Vec<&'static str> {
        let apt = |privilege| match privilege {
            Privilege::Root => vec!["apt-get"],
            // `sudo` drops the environment; `env` sets what apt is to see on the other side.
            Privilege::Sudo => vec!["sudo", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"],
        };
        let install = |privilege, in_the_way| {
            let mut words = apt(privilege);
            words.extend(["install", "--yes", "--no-install-recommends"]);
            if in_the_way == InTheWay::Stay {
                words.push("--no-remove");
            }
            // Another installation may be under way.
            words.extend(["-o", "DPkg::Lock::Timeout=300"]);
            words
        };
        match *self {
            Self::AddTarget => vec!["rustup", "target", "add", TARGET],
            Self::UpdatePackages(privilege) => {
                let mut words = apt(privilege);
                words.push("update");
                words
            }
            Self::InstallToolchain(privilege, distribution) => {
                // Of two compilers the one that someone chose stays.
                let mut words = install(privilege, InTheWay::Stay);
                words.extend(distribution.packages());
                words
            }
            Self::InstallQemu(privilege, in_the_way) => {
                let mut words = install(privilege, in_the_way);
                words.push("qemu-system-x86");
                words
            }
            Self::InstallBrowser(privilege, chromium) => {
                let mut words = install(privilege, InTheWay::Stay);
                words.push(match chromium {
                    Chromium::HeadlessShell => "chromium-headless-shell",
                    Chromium::Whole => "chromium",
                });
                words
            }
        }
    }

    /// What is missing, for the middle of a sentence.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::AddTarget => "the compiler's library for the guest target x86_64-unknown-none",
            Self::UpdatePackages(_) => "the list of packages",
            Self::InstallToolchain(..) => "a compiler that can build guests",
            Self::InstallQemu(..) => "QEMU",
            Self::InstallBrowser(..) => "a browser",
        }
    }

    /// What the step is for, to announce it.
    pub(super) fn why(&self) -> &'static str {
        match self {
            Self::AddTarget => "adding the compiler's library for guests",
            Self::UpdatePackages(_) => {
                "asking which packages there are, to install what is missing"
            }
            Self::InstallToolchain(..) => {
                "installing the distribution's compiler with the library's source, to build guests"
            }
            Self::InstallQemu(_, InTheWay::Stay) => "installing QEMU, to run guests under it",
            Self::InstallQemu(_, InTheWay::Go) => {
                "installing QEMU in place of the packages that were in its way"
            }
            Self::InstallBrowser(..) => "installing a browser, to look at the page of figures",
        }
    }

    /// Whether the step may ask the terminal for a password.
    pub(super) fn may_ask(&self) -> bool {
        self.words().first() == Some(&"sudo")
    }
}

/// The command, as one would type it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(" "))
    }
}
