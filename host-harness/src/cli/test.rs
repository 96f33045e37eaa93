//! `cargo vm test`: every test there is, after setting up what they need.

use super::{Ended, FAILURE, Installing};
use crate::{
    process::{self, Scope},
    setup::{self, Needs},
    stop::StopToken,
    toolchain,
    workspace::Workspace,
};
use std::{env, ffi::OsString, os::unix::process::ExitStatusExt, process::Command, time::Duration};

/// Runs every test there is, on the host and in VMs, as `cargo test` does in the top folder.
///
/// What the tests need and is not there is installed first: the compiler's library for guests, and
/// QEMU.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    installing: Installing,
    /// Arguments of `cargo test`, such as a filter
    #[arg(last = true, value_name = "CARGO TEST ARGUMENTS")]
    cargo_test: Vec<OsString>,
}

/// What the tests' cargo keeps of this one's environment: the user's own settings, and nothing that
/// the outer cargo has set.
const KEPT: &[&str] = &[
    "CARGO_BUILD_JOBS",
    "CARGO_NET_OFFLINE",
    "CARGO_TARGET_DIR",
    "CARGO_TERM_COLOR",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "RUST_BACKTRACE",
    "RUST_TEST_THREADS",
];

pub(super) fn run(arguments: &Arguments, stop: &StopToken) -> Ended {
    let workspace = Workspace::locate()?;
    let needs = Needs { qemu: true };
    setup::set_up(&workspace, needs, arguments.installing.policy(), stop)?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    toolchain::isolate(&mut command, KEPT);
    command
        .args(["test", "--locked"])
        .args(&arguments.cargo_test)
        .current_dir(workspace.root());
    // Each test has a time limit of its own.
    let status = process::run(&mut command, Scope::Group, Duration::MAX, stop)?;
    Ok(match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(FAILURE),
        // As a shell reports it.
        (None, Some(signal)) => u8::try_from(128 + signal).unwrap_or(FAILURE),
        (None, None) => FAILURE,
    })
}
