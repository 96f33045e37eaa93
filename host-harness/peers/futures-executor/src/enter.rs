//! A thread runs one executor at a time. (dormir's executors may be nested; the peer's may not.)

use std::{cell::Cell, error::Error, fmt};

thread_local! {
    static ENTERED: Cell<bool> = const { Cell::new(false) };
}

/// Shows that this thread runs an executor.
#[derive(Debug)]
pub struct Enter(());

/// This thread runs an executor already.
#[derive(Debug)]
pub struct EnterError(());

impl fmt::Display for EnterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this thread runs an executor already")
    }
}

impl Error for EnterError {}

/// Marks this thread as running an executor.
///
/// # Errors
///
/// It runs one already.
pub fn enter() -> Result<Enter, EnterError> {
    if ENTERED.replace(true) {
        Err(EnterError(()))
    } else {
        Ok(Enter(()))
    }
}

impl Drop for Enter {
    fn drop(&mut self) {
        ENTERED.set(false);
    }
}
