//! The errors before a call.

use std::fmt;

use hyperlight_host::HyperlightError;

/// Why the functions could not be registered.
#[derive(Debug)]
#[non_exhaustive]
pub enum RegisterError {
    /// The sandbox already has the functions of another [`Host`](crate::Host), and keeps them.
    AlreadyRegistered,
    /// This [`Host`](crate::Host) already belongs to a sandbox.
    InUse,
    /// Hyperlight refused the registration.
    Hyperlight(HyperlightError),
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyRegistered => f.write_str(
                "this sandbox already has dormir's functions, from another Host: register once, \
                 and keep that Host for its cancellers",
            ),
            Self::InUse => f.write_str(
                "this Host already belongs to a sandbox or a connection: make a Host for each \
                 sandbox, and register it once",
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

/// The sandboxes of this program have no interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoInterruptsError;

impl fmt::Display for NoInterruptsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "sandboxes have no interrupts in this program, and a guest that halts would poison its \
             sandbox: build the program with dormir-hyperlight-host's feature hw-interrupts, or \
             keep the default mode",
        )
    }
}

impl std::error::Error for NoInterruptsError {}
