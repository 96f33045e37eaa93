//! What can be wrong before a call.

use std::fmt;

use hyperlight_host::HyperlightError;

/// Why the functions were not registered.
#[derive(Debug)]
#[non_exhaustive]
pub enum RegisterError {
    /// The sandbox has them already, from another [`Host`](crate::Host), whose they stay.
    AlreadyRegistered,
    /// This [`Host`](crate::Host) belongs to a sandbox already.
    InUse,
    /// Hyperlight refused.
    Hyperlight(HyperlightError),
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyRegistered => f.write_str(
                "this sandbox has dormir's functions already, from another Host: register once, and keep that Host for its cancellers",
            ),
            Self::InUse => f.write_str(
                "this Host belongs to a sandbox already: make a Host for each sandbox, and register it once",
            ),
            Self::Hyperlight(error) => write!(
                f,
                "dormir's functions cannot be registered: {error}; register them while no call runs"
            ),
        }
    }
}

impl std::error::Error for RegisterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Hyperlight(error) => Some(error),
            _ => None,
        }
    }
}

impl From<HyperlightError> for RegisterError {
    fn from(error: HyperlightError) -> Self {
        Self::Hyperlight(error)
    }
}

/// Sandboxes have no interrupts in this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoInterrupts;

impl fmt::Display for NoInterrupts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "sandboxes have no interrupts in this program, and a guest that halts would poison its sandbox: build it with dormir-hyperlight-host's feature hw-interrupts, or leave the mode as it is",
        )
    }
}

impl std::error::Error for NoInterrupts {}
