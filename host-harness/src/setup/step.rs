//! One thing that can be done about a lack, and the command that does it.

use crate::toolchain::TARGET;
use std::fmt;

/// One thing that can be done about a lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Let rustup fetch the target's library.
    AddTarget,
    /// Let apt learn what packages there are.
    UpdatePackages(Privilege),
    /// Install packages; nothing that is installed is removed for them.
    Install(Privilege, Software),
    /// Install packages in place of these. [`super::simulation::judge`] alone decides on it.
    Replace(Privilege, Software, Vec<Removal>),
}

/// What a distribution's packages bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Software {
    /// A compiler with the library's source.
    Toolchain(Distribution),
    /// QEMU.
    Qemu,
    /// A browser.
    Browser(Chromium),
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

/// The packages that a distribution has of Chromium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chromium {
    /// Without a window. Debian has it, and it is much smaller.
    HeadlessShell,
    /// All of it.
    Whole,
}

/// An installed package that an installation would remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Removal {
    pub(super) package: String,
    pub(super) version: String,
    /// The source package that it is built from, if that is known.
    pub(super) source: Option<String>,
}

/// How a command that needs root's rights gets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Privilege {
    /// It has them.
    Root,
    /// `sudo`.
    Sudo,
}

impl Software {
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Toolchain(Distribution::Plain) => &["rustc", "cargo", "rust-src", "lld"],
            Self::Toolchain(Distribution::Web) => {
                &["rustc-web", "cargo-web", "rust-web-src", "lld"]
            }
            Self::Qemu => &["qemu-system-x86"],
            Self::Browser(Chromium::HeadlessShell) => &["chromium-headless-shell"],
            Self::Browser(Chromium::Whole) => &["chromium"],
        }
    }

    /// What it is, for the middle of a sentence.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Toolchain(_) => "a compiler that can build guests",
            Self::Qemu => "QEMU",
            Self::Browser(_) => "a browser",
        }
    }

    /// How to come by it without its packages.
    pub(super) fn otherwise(self) -> String {
        match self {
            Self::Toolchain(_) => format!("install rustup and run `rustup target add {TARGET}`"),
            Self::Qemu => "install qemu-system-x86_64 with the means of this system".into(),
            Self::Browser(_) => "install chromium with the means of this system".into(),
        }
    }

    /// The command that asks what installing it would do, and does nothing. It needs no rights.
    pub(super) fn rehearsal(self) -> Vec<String> {
        let mut words = vec![
            "apt-get",
            "install",
            "--simulate",
            "--no-install-recommends",
        ];
        words.extend(self.packages());
        words.into_iter().map(str::to_owned).collect()
    }

    /// The same command as one would type it to install, with apt's own question before anything is removed.
    pub(super) fn by_hand(self) -> String {
        let packages = self.packages().join(" ");
        format!("apt-get install --no-install-recommends {packages}")
    }
}

impl Step {
    /// The program and its arguments.
    pub(super) fn words(&self) -> Vec<String> {
        let (privilege, words) = match self {
            Self::AddTarget => {
                return ["rustup", "target", "add", TARGET]
                    .map(str::to_owned)
                    .into();
            }
            Self::UpdatePackages(privilege) => (privilege, vec!["update".to_owned()]),
            Self::Install(privilege, software) => (privilege, install(*software, &[])),
            Self::Replace(privilege, software, going) => (privilege, install(*software, going)),
        };
        let apt: &[&str] = match privilege {
            Privilege::Root => &["apt-get"],
            // `sudo` drops the environment; `env` sets what apt is to see on the other side.
            Privilege::Sudo => &["sudo", "env", ENVIRONMENT[0], ENVIRONMENT[1], "apt-get"],
        };
        apt.iter()
            .map(|word| (*word).to_owned())
            .chain(words)
            .collect()
    }

    /// What is missing, for the middle of a sentence.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::AddTarget => "the compiler's library for the guest target x86_64-unknown-none",
            Self::UpdatePackages(_) => "the list of packages",
            Self::Install(_, software) | Self::Replace(_, software, _) => software.what(),
        }
    }

    /// What the step is for, to announce it.
    pub(super) fn why(&self) -> String {
        let why = match self {
            Self::AddTarget => "adding the compiler's library for guests",
            Self::UpdatePackages(_) => {
                "asking which packages there are, to install what is missing"
            }
            Self::Install(_, Software::Toolchain(_)) => {
                "installing the distribution's compiler with the library's source, to build guests"
            }
            Self::Install(_, Software::Qemu) => "installing QEMU, to run guests under it",
            Self::Install(_, Software::Browser(_)) => {
                "installing a browser, to look at the page of figures"
            }
            Self::Replace(_, software, going) => {
                return format!(
                    "installing {} in place of {}, which cannot stand beside it",
                    software.what(),
                    Removal::list(going)
                );
            }
        };
        why.to_owned()
    }

    /// Whether the step may ask the terminal for a password.
    pub(super) fn may_ask(&self) -> bool {
        self.words().first().is_some_and(|word| word == "sudo")
    }
}

/// What apt's environment says: that nobody answers questions, and in which language its messages are
/// looked into.
pub(super) const ENVIRONMENT: [&str; 2] = ["DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"];

fn install(software: Software, going: &[Removal]) -> Vec<String> {
    let mut words = vec!["install", "--yes", "--no-install-recommends"];
    if going.is_empty() {
        // Something may have changed since apt was asked.
        words.push("--no-remove");
    }
    words.extend(software.packages());
    let words = words.into_iter().map(str::to_owned);
    // A minus behind a package's name has apt remove it.
    words
        .chain(going.iter().map(|gone| format!("{}-", gone.package)))
        .collect()
}

impl Removal {
    /// Names and versions, for the middle of a sentence.
    pub(super) fn list(removals: &[Self]) -> String {
        let named = removals
            .iter()
            .map(|gone| format!("{} {}", gone.package, gone.version));
        named.collect::<Vec<_>>().join(", ")
    }
}

/// The command, as one would type it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(" "))
    }
}
