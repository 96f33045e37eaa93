//! The timers that can interrupt, and whether this machine has them.

use core::{fmt, str::FromStr};

use crate::arch::x86_64::{apic, cpuid, pic, pit};

/// A timer that can interrupt.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::platform::bare::{self, Config, TimerSource};
///
/// // From the guest's command line.
/// let timer: TimerSource = dormir_guest::args::value("timer").unwrap_or("xapic").parse()?;
/// let config = Config::new().timer(timer);
/// // SAFETY: ring 0, one vCPU, interrupts masked, tables and pages as they must be; called once.
/// let machine = unsafe { bare::init(config) }.expect("every machine here has an xAPIC");
/// assert_eq!(machine.timer, timer);
/// # Ok::<(), bare::ParseTimerSourceError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TimerSource {
    /// Channel 0 of the 8254, through the PIC: 0.8 µs ticks, 54.9 ms at most.
    Pit,
    /// The local APIC's timer in one-shot mode, its registers in memory.
    Xapic,
    /// The same, its registers as MSRs.
    X2apic,
    /// The local APIC's timer in TSC-deadline mode.
    TscDeadline,
}

impl TimerSource {
    /// All timers, the best first: fewest and cheapest exits, finest resolution.
    pub const BEST_FIRST: [Self; 4] = [Self::TscDeadline, Self::X2apic, Self::Xapic, Self::Pit];

    /// What the machine lacks for this timer; `None` if it can be used.
    pub(super) fn lack(self) -> Option<&'static str> {
        let has_apic = cpuid::has_apic();
        match self {
            Self::Pit if !pit::is_present() => Some("no PIT answers on port 0x40"),
            Self::Pit if !pic::is_present() => {
                Some("no PIC answers on port 0x21, which the PIT's interrupts come through")
            }
            Self::Xapic | Self::X2apic | Self::TscDeadline if !has_apic => {
                Some("it has no local APIC (CPUID.01H:EDX.9 is clear)")
            }
            // SAFETY: `init` requires ring 0, and there is a local APIC.
            Self::Xapic if unsafe { apic::is_in_x2apic_mode() } => {
                Some("its local APIC is in x2APIC mode already, which it cannot simply leave")
            }
            Self::X2apic if !cpuid::has_x2apic() => {
                Some("it has no x2APIC (CPUID.01H:ECX.21 is clear)")
            }
            Self::TscDeadline if !cpuid::has_tsc_deadline() => {
                Some("it has no TSC-deadline timer (CPUID.01H:ECX.24 is clear)")
            }
            _ => None,
        }
    }
}

/// The names that [`FromStr`] reads: `pit`, `xapic`, `x2apic`, `tsc-deadline`.
impl fmt::Display for TimerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pit => "pit",
            Self::Xapic => "xapic",
            Self::X2apic => "x2apic",
            Self::TscDeadline => "tsc-deadline",
        })
    }
}

/// A string is not the name of a [`TimerSource`].
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::platform::bare::{TimerSource, ParseTimerSourceError};
///
/// let error: ParseTimerSourceError = "hpet".parse::<TimerSource>().expect_err("no such name");
/// dormir_guest::println!("{error}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct ParseTimerSourceError;

impl fmt::Display for ParseTimerSourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a timer source is one of pit, xapic, x2apic, tsc-deadline")
    }
}

impl core::error::Error for ParseTimerSourceError {}

impl FromStr for TimerSource {
    type Err = ParseTimerSourceError;

    fn from_str(name: &str) -> Result<Self, ParseTimerSourceError> {
        match name {
            "pit" => Ok(Self::Pit),
            "xapic" => Ok(Self::Xapic),
            "x2apic" => Ok(Self::X2apic),
            "tsc-deadline" => Ok(Self::TscDeadline),
            _ => Err(ParseTimerSourceError),
        }
    }
}
