//! The types that `main` may return.

use core::fmt::Display;

use crate::println;

/// A type that `main` may return.
pub trait Termination {
    /// The exit code of the guest. Errors are printed on the console.
    fn exit_code(self) -> u8;
}

/// Success.
impl Termination for () {
    fn exit_code(self) -> u8 {
        dormir_abi::exit::SUCCESS
    }
}

/// The exit code itself.
impl Termination for u8 {
    fn exit_code(self) -> u8 {
        self
    }
}

/// The error is printed, and the exit code is 1.
impl<T: Termination, E: Display> Termination for Result<T, E> {
    fn exit_code(self) -> u8 {
        match self {
            Ok(value) => value.exit_code(),
            Err(error) => {
                println!("error: {error}");
                1
            }
        }
    }
}
