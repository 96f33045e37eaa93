//! What `main` may return.

use core::fmt::Display;

use crate::println;

/// How a value of `main` ends the guest.
pub trait Termination {
    /// The exit code; says on the console what an error is.
    fn exit_code(self) -> u8;
}

/// Success.
impl Termination for () {
    fn exit_code(self) -> u8 {
        dormir_abi::exit::SUCCESS
    }
}

/// The code itself.
impl Termination for u8 {
    fn exit_code(self) -> u8 {
        self
    }
}

/// An error is printed, and the code is 1.
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
