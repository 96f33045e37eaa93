//! The machine that this program runs on: what is there, and how steps are carried out.

use super::{
    Done, Host, Needs,
    plan::{Apt, Distribution, Facts, Program, Step},
};
use crate::{
    browser::{self, BrowserError},
    process::{self, Keep, ProcessError, Scope},
    stop::StopToken,
    toolchain::{self, GuestToolchain},
    vmm::{RunError, qemu},
    workspace::Workspace,
};
use std::{process::Command, time::Duration};

/// How long a step may take: a slow mirror is given its time, a hang is not.
const STEP_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How long the package manager may take to say which package a file is from.
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
        let query = process::capture(
            Command::new("dpkg-query").args(["--search", "/usr/bin/rustc"]),
            Keep::Stdout,
            Scope::Group,
            QUERY_LIMIT,
            self.stop,
        )
        .ok()?;
        let (package, _) = query.output.split_once(':')?;
        match package {
            "rustc" => Some(Distribution::Plain),
            "rustc-web" => Some(Distribution::Web),
            _ => None,
        }
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

    fn carry_out(&mut self, step: &Step) -> Result<Done, ProcessError> {
        let words = step.words();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            // Where `rust-toolchain.toml` says which toolchain the target is for.
            .current_dir(self.workspace.guest())
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("LD_LIBRARY_PATH")
            // What rustup would print is about its own source.
            .env_remove("RUST_BACKTRACE")
            .env("DEBIAN_FRONTEND", "noninteractive");
        let scope = if step.may_ask() {
            Scope::Child
        } else {
            Scope::Group
        };
        let ran = process::capture(&mut command, Keep::Both, scope, STEP_LIMIT, self.stop)?;
        Ok(Done {
            success: ran.status.success(),
            status: ran.status.to_string(),
            output: ran.output,
        })
    }
}
