//! The command as people use it, as far as no guest is needed; and in Hyperlight sandboxes.

mod figures;
mod hyperlight;
mod input;
mod page;
mod splice;
#[expect(dead_code, reason = "the harness's tests use more of it")]
#[path = "../../../tests/cli/support.rs"]
mod support;

/// The command.
const PROGRAM: &str = env!("CARGO_BIN_EXE_dormir-measure");
