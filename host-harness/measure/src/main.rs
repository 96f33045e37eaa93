//! `cargo vm bench`.

use std::process::ExitCode;

fn main() -> ExitCode {
    dormir_measure::main()
}
