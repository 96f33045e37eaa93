//! The machine that this program runs on: what is there, and how steps are carried out.

use super::{
    Done, Host, LOCK_PAUSE, Needs, Rehearsed,
    plan::{Apt, Facts, Program},
    simulation,
    step::{Distribution, ENVIRONMENT, Removal, Software, Step},
};
use crate::{
    browser::{self, BrowserError},
    process::{self, Captured, Keep, ProcessError, Scope},
    stop::StopToken,
    toolchain::{self, GuestToolchain},
    vmm::{RunError, qemu},
    workspace::Workspace,
};
use std::{process::Command, thread, time::Duration};

/// How long a step may take: a slow mirror is given its time, a hang is not.
const STEP_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How long the package manager may take to say what it knows, or what it would do.
const QUERY_LIMIT: Duration = Duration::from_secs(30);

pub(super) struct Machine<'a> {
    workspace: &'a Workspace,
    stop: &'a StopToken,
}

impl<'a> Machine<'a> {
    pub(super) fn new(workspace: &'a Workspace, stop: &'a StopToken) -> Self {
        Self { workspace, stop }
    }

    /// The package of the distribution's compiler.
    fn distribution(&self) -> Option<Distribution> {
        let answer = self.dpkg(&["--search", "/usr/bin/rustc"])?;
        let (package, _) = answer.split_once(':')?;
        match package {
            "rustc" => Some(Distribution::Plain),
            "rustc-web" => Some(Distribution::Web),
            _ => None,
        }
    }

    /// The source package that an installed package is built from.
    fn source(&self, package: &str) -> Option<String> {
        let answer = self.dpkg(&["--show", "--showformat=${source:Package}\\n", package])?;
        answer.lines().next().map(str::to_owned)
    }

    /// What the package manager's list of installed packages says.
    fn dpkg(&self, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new("dpkg-query");
        command.args(arguments);
        let (keep, scope) = (Keep::Stdout, Scope::Group);
        let answer = process::capture(&mut command, keep, scope, QUERY_LIMIT, self.stop).ok()?;
        answer.status.success().then_some(answer.output)
    }

    /// A command of set-up's in its environment.
    fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            // Where `rust-toolchain.toml` says which toolchain the target is for.
            .current_dir(self.workspace.guest())
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("LD_LIBRARY_PATH")
            // What rustup would print is about its own source.
            .env_remove("RUST_BACKTRACE")
            .envs(
                ENVIRONMENT
                    .iter()
                    .filter_map(|setting| setting.split_once('=')),
            );
        command
    }
}

fn look_for_qemu() -> Program {
    match qemu::probe() {
        Ok(_) => Program::Usable,
        // Where another one was named, a package puts nothing in its place.
        Err(RunError::QemuMissing { .. }) if !qemu::one_is_named() => Program::Missing,
        Err(error) => Program::Unusable(error.to_string()),
    }
}

fn look_for_browser() -> Program {
    match browser::probe() {
        Ok(_) => Program::Usable,
        Err(BrowserError::Missing) => Program::Missing,
        Err(error) => Program::Unusable(error.to_string()),
    }
}

fn look_for_apt() -> Apt {
    if !toolchain::in_path("apt-get") {
        Apt::Missing
    } else if rustix::process::geteuid().is_root() {
        Apt::Root
    } else if toolchain::in_path("sudo") {
        Apt::Sudo
    } else {
        Apt::NotRoot
    }
}

impl Host for Machine<'_> {
    fn facts(&mut self, needs: Needs) -> Facts {
        let toolchain = GuestToolchain::detect(self.workspace);
        let distribution = match toolchain {
            Ok(_) => None,
            Err(_) => self.distribution(),
        };
        Facts {
            toolchain,
            qemu: if needs.qemu {
                look_for_qemu()
            } else {
                Program::Usable
            },
            browser: if needs.browser {
                look_for_browser()
            } else {
                Program::Usable
            },
            rustup: toolchain::in_path("rustup"),
            apt: look_for_apt(),
            distribution,
        }
    }

    fn rehearse(&mut self, software: Software) -> Result<Rehearsed, ProcessError> {
        let mut command = self.command(&software.rehearsal());
        let (keep, scope) = (Keep::Both, Scope::Group);
        let ran = process::capture(&mut command, keep, scope, QUERY_LIMIT, self.stop)?;
        if !ran.status.success() {
            return Ok(Rehearsed::Fails(ran.into()));
        }
        let removals = simulation::removals(&ran.output).into_iter();
        let removals = removals.map(|(package, version)| Removal {
            source: self.source(&package),
            package,
            version,
        });
        Ok(Rehearsed::Removes(removals.collect()))
    }

    fn carry_out(&mut self, step: &Step) -> Result<Done, ProcessError> {
        let mut command = self.command(&step.words());
        let scope = if step.may_ask() {
            Scope::Child
        } else {
            Scope::Group
        };
        let ran = process::capture(&mut command, Keep::Both, scope, STEP_LIMIT, self.stop)?;
        Ok(ran.into())
    }

    fn pause(&mut self) -> Result<(), ProcessError> {
        thread::sleep(LOCK_PAUSE);
        if self.stop.is_stopped() {
            return Err(ProcessError::Stopped);
        }
        Ok(())
    }
}

impl From<Captured> for Done {
    fn from(ran: Captured) -> Self {
        Self {
            success: ran.status.success(),
            status: ran.status.to_string(),
            output: ran.output,
        }
    }
}
