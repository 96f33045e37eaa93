//! Tests of the command as users run it, as far as no guest is needed.

mod bench;
mod documents;
mod fuzz;
mod input;
mod killed;
mod mutants;
mod new;
mod packages;
mod promises;
mod security;
mod setup;
mod signals;
mod support;

/// The command.
const PROGRAM: &str = env!("CARGO_BIN_EXE_cargo-vm");
