//! Set-up of the machine on which this program runs: finds out what is installed, and carries out
//! steps.

use super::{
    host::{LOCK_PAUSE, SetupHost, Simulated, StepResult},
    plan::{Apt, Availability, Facts, Needs},
    simulation,
    step::{Distribution, ENVIRONMENT, Removal, SetupStep, Software},
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

/// The time limit of a step: long enough for a slow mirror.
const STEP_LIMIT: Duration = Duration::from_secs(15 * 60);

/// The time limit of a query to the package manager.
const QUERY_LIMIT: Duration = Duration::from_secs(30);

pub(super) struct LocalHost<'a> {
    workspace: &'a Workspace,
    stop: &'a StopToken,
}

impl<'a> LocalHost<'a> {
    pub(super) fn new(workspace: &'a Workspace, stop: &'a StopToken) -> Self {
        Self { workspace, stop }
    }

    /// Returns the package of the distribution's compiler.
    fn distribution(&self) -> Option<Distribution> {
        let answer = self.dpkg(&["--search", "/usr/bin/rustc"])?;
        let (package, _) = answer.split_once(':')?;
        match package {
            "rustc" => Some(Distribution::Plain),
            "rustc-web" => Some(Distribution::Web),
            _ => None,
        }
    }

    /// Returns the source package of an installed package.
    fn source(&self, package: &str) -> Option<String> {
        let answer = self.dpkg(&["--show", "--showformat=${source:Package}\\n", package])?;
        answer.lines().next().map(str::to_owned)
    }

    /// Queries the list of installed packages.
    fn dpkg(&self, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new("dpkg-query");
        command.args(arguments);
        let (keep, scope) = (Keep::Stdout, Scope::Group);
        let answer = process::capture(&mut command, keep, scope, QUERY_LIMIT, self.stop).ok()?;
        answer.status.success().then_some(answer.output)
    }

    /// Makes a command of set-up, in its environment.
    fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            // In this folder `rust-toolchain.toml` selects the toolchain that gets the target.
            .current_dir(self.workspace.guest())
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("LD_LIBRARY_PATH")
            // rustup would print a backtrace of its own code.
            .env_remove("RUST_BACKTRACE")
            .envs(
                ENVIRONMENT
                    .iter()
                    .filter_map(|setting| setting.split_once('=')),
            );
        command
    }
}

fn look_for_qemu() -> Availability {
    match qemu::probe() {
        Ok(_) => Availability::Usable,
        // If another program was named, a package does not replace it.
        Err(RunError::QemuMissing { .. }) if !qemu::one_is_named() => Availability::Missing,
        Err(error) => Availability::Unusable(error.to_string()),
    }
}

fn look_for_browser() -> Availability {
    match browser::probe() {
        Ok(_) => Availability::Usable,
        Err(BrowserError::Missing) => Availability::Missing,
        Err(error) => Availability::Unusable(error.to_string()),
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

impl SetupHost for LocalHost<'_> {
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
                Availability::Usable
            },
            passt: if needs.passt && !toolchain::in_path("passt") {
                Availability::Missing
            } else {
                Availability::Usable
            },
            browser: if needs.browser {
                look_for_browser()
            } else {
                Availability::Usable
            },
            rustup: toolchain::in_path("rustup"),
            apt: look_for_apt(),
            distribution,
        }
    }

    fn simulate(&mut self, software: Software) -> Result<Simulated, ProcessError> {
        let mut command = self.command(&software.simulation());
        let (keep, scope) = (Keep::Both, Scope::Group);
        let ran = process::capture(&mut command, keep, scope, QUERY_LIMIT, self.stop)?;
        if !ran.status.success() {
            return Ok(Simulated::Fails(ran.into()));
        }
        let removals = simulation::removals(&ran.output).into_iter();
        let removals = removals.map(|(package, version)| Removal {
            source: self.source(&package),
            package,
            version,
        });
        Ok(Simulated::Removes(removals.collect()))
    }

    fn carry_out(&mut self, step: &SetupStep) -> Result<StepResult, ProcessError> {
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

impl From<Captured> for StepResult {
    fn from(ran: Captured) -> Self {
        Self {
            success: ran.status.success(),
            status: ran.status.to_string(),
            output: ran.output,
        }
    }
}
