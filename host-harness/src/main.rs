//! `cargo vm`: runs dormir guests under KVM and QEMU.

use std::process::ExitCode;

fn main() -> ExitCode {
    dormir_harness::cli::main()
}
