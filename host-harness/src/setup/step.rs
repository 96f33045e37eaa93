//! The steps of set-up, their commands, and about how long they take.

use crate::toolchain::TARGET;
use std::{fmt, time::Duration};

/// A step that can fix a lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SetupStep {
    /// Make rustup fetch the target's library.
    AddTarget,
    /// Update apt's package lists.
    UpdatePackages(Privilege),
    /// Install packages without removing any.
    Install(Privilege, Software),
    /// Install packages, replacing these. Only [`super::simulation::judge`] decides on this.
    Replace(Privilege, Software, Vec<Removal>),
}

/// Software that the distribution's packages provide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Software {
    /// A compiler with the library's source.
    Toolchain(Distribution),
    /// QEMU.
    Qemu,
    /// The program that connects networks of our own VMM.
    Passt,
    /// A browser.
    Browser(Chromium),
}

/// The packages of a distribution with two compilers: the one with which it builds itself, and a
/// newer one (for web browsers). They cannot be installed at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Distribution {
    /// `rustc`.
    Plain,
    /// `rustc-web`: the newer one, and so the one to install if there is none.
    #[default]
    Web,
}

/// The distribution's packages of Chromium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chromium {
    /// Without a window. Debian has it; it is much smaller.
    HeadlessShell,
    /// The whole browser.
    Whole,
}

/// An installed package that an installation would remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Removal {
    pub(super) package: String,
    pub(super) version: String,
    /// Its source package, if known.
    pub(super) source: Option<String>,
}

/// How a command gets root privileges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Privilege {
    /// It has them already.
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
            Self::Passt => &["passt"],
            Self::Browser(Chromium::HeadlessShell) => &["chromium-headless-shell"],
            Self::Browser(Chromium::Whole) => &["chromium"],
        }
    }

    /// Returns what it is, for the middle of a sentence.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Toolchain(_) => "a compiler that can build guests",
            Self::Qemu => "QEMU",
            Self::Passt => "passt",
            Self::Browser(_) => "a browser",
        }
    }

    /// Returns how to get it without its packages.
    pub(super) fn otherwise(self) -> String {
        match self {
            Self::Toolchain(_) => format!("install rustup and run `rustup target add {TARGET}`"),
            Self::Qemu => "install qemu-system-x86_64 by other means".into(),
            Self::Passt => "install passt by other means".into(),
            Self::Browser(_) => "install chromium by other means".into(),
        }
    }

    /// Returns the command that simulates its installation. It needs no privileges.
    pub(super) fn simulation(self) -> Vec<String> {
        let mut words = vec![
            "apt-get",
            "install",
            "--simulate",
            "--no-install-recommends",
        ];
        words.extend(self.packages());
        words.into_iter().map(str::to_owned).collect()
    }

    /// Returns the command to type for its installation, with which apt asks before it removes
    /// anything.
    pub(super) fn by_hand(self) -> String {
        let packages = self.packages().join(" ");
        format!("apt-get install --no-install-recommends {packages}")
    }
}

impl SetupStep {
    /// Returns the program and its arguments.
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

    /// Returns what is missing, for the middle of a sentence.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::AddTarget => "the compiler's library for the guest target x86_64-unknown-none",
            Self::UpdatePackages(_) => "the list of packages",
            Self::Install(_, software) | Self::Replace(_, software, _) => software.what(),
        }
    }

    /// Returns the purpose of the step, for its announcement.
    pub(super) fn why(&self) -> String {
        let why = match self {
            Self::AddTarget => "adding the compiler's library for guests",
            Self::UpdatePackages(_) => "updating the package lists, to install what is missing",
            Self::Install(_, Software::Toolchain(_)) => {
                "installing the distribution's compiler with the library's source, to build guests"
            }
            Self::Install(_, Software::Qemu) => "installing QEMU, to run guests under it",
            Self::Install(_, Software::Passt) => {
                "installing passt, to give guests of our own VMM a network"
            }
            Self::Install(_, Software::Browser(_)) => {
                "installing a browser, to test the page of figures"
            }
            Self::Replace(_, software, going) => {
                return format!(
                    "installing {} in place of {}, which conflicts with it",
                    software.what(),
                    Removal::list(going)
                );
            }
        };
        why.to_owned()
    }

    /// Returns about how long the step takes.
    ///
    /// A download counts with 5 MB/s. Its size is apt's "Need to get" on a Debian 12 without any of
    /// the packages; the time to unpack was measured on a virtual machine with two vCPUs.
    pub(super) fn estimate(&self) -> Duration {
        Duration::from_secs(match self {
            // 80 MB on disk, a fourth of that to download; a fast mirror takes 2 s for it all.
            Self::AddTarget => 10,
            // Some 10 MB of lists, several connections.
            Self::UpdatePackages(_) => 10,
            Self::Install(_, software) | Self::Replace(_, software, _) => match software {
                // 251 MB, 1.2 GB on disk.
                Software::Toolchain(_) => 90,
                // 43 MB, and 5 s to unpack.
                Software::Qemu => 15,
                // 0.2 MB.
                Software::Passt => 5,
                // 170 MB, and 11 s to unpack. The whole browser is not much larger.
                Software::Browser(_) => 45,
            },
        })
    }

    /// Returns whether the step may ask the terminal for a password.
    pub(super) fn may_ask(&self) -> bool {
        self.words().first().is_some_and(|word| word == "sudo")
    }
}

/// apt's environment: no questions, and messages in the language that set-up parses.
pub(super) const ENVIRONMENT: [&str; 2] = ["DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"];

fn install(software: Software, going: &[Removal]) -> Vec<String> {
    let mut words = vec!["install", "--yes", "--no-install-recommends"];
    if going.is_empty() {
        // Something may have changed since the simulation.
        words.push("--no-remove");
    }
    words.extend(software.packages());
    let words = words.into_iter().map(str::to_owned);
    // A minus after a package's name makes apt remove it.
    words
        .chain(going.iter().map(|gone| format!("{}-", gone.package)))
        .collect()
}

impl Removal {
    /// Lists names and versions, for the middle of a sentence.
    pub(super) fn list(removals: &[Self]) -> String {
        let named = removals
            .iter()
            .map(|gone| format!("{} {}", gone.package, gone.version));
        named.collect::<Vec<_>>().join(", ")
    }
}

/// Writes the command as it would be typed.
impl fmt::Display for SetupStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(" "))
    }
}
