//! [`ClaimError`]: why an interrupt cannot be claimed.

use core::fmt;

/// The reason why an interrupt cannot be claimed.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::platform::bare::{ClaimError, DeviceInterrupt};
///
/// let error = DeviceInterrupt::line(16).expect_err("there are 16 lines");
/// assert_eq!(error, ClaimError::Reserved { irq: 16 });
/// dormir_guest::println!("{error}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ClaimError {
    /// [`init`](fn@crate::platform::bare::init) was not called.
    NotInitialized,
    /// No device may have this line: there is none, or the PIT or the second PIC has it.
    Reserved {
        /// The line.
        irq: u8,
    },
    /// The line is level triggered: it would interrupt again and again until a task has
    /// acknowledged at the device, and so keep that task from running.
    LevelTriggered {
        /// The line.
        irq: u8,
    },
    /// The program has [set a handler](crate::platform::bare::set_interrupt_handler) of its own for
    /// it, or for all vectors.
    InUse,
    /// 32 interrupts are claimed.
    TooMany,
    /// The machine has no PIC, which lines come through.
    NoPic,
    /// The machine has no local APIC, which messages come through.
    NoApic,
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotInitialized => {
                "the interrupt controllers are not set up: call platform::bare::init first"
            }
            Self::Reserved { irq } => {
                return write!(
                    f,
                    "no device can have line {irq}: lines are 1 and 3 to 15 (0 is the PIT's, and \
                     2 connects the second PIC)"
                );
            }
            Self::LevelTriggered { irq } => {
                return write!(
                    f,
                    "line {irq} is level triggered, as those of PCI are: use the device's messages \
                     (MSI-X)"
                );
            }
            Self::InUse => {
                "the interrupt has a handler by platform::bare::set_interrupt_handler: use one or \
                 the other"
            }
            Self::TooMany => "32 interrupts are claimed already: drop one of them",
            Self::NoPic => "this machine has no PIC: use a device that sends messages (MSI-X)",
            Self::NoApic => "this machine has no local APIC: use a line of the PIC",
        })
    }
}

impl core::error::Error for ClaimError {}
