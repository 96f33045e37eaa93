//! A cargo that builds this checkout's packages for the host.

use crate::{toolchain, workspace::Workspace};
use std::{env, process::Command};

/// What it keeps of this process's environment: the user's own settings, and nothing that the outer
/// cargo has set.
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

/// `cargo VERB` in the top folder, to which arguments are to be added.
pub(crate) fn cargo(workspace: &Workspace, verb: &str) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    toolchain::isolate(&mut command, KEPT);
    command
        .args([verb, "--locked"])
        .current_dir(workspace.root());
    command
}
