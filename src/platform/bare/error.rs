//! [`InitError`].

use core::fmt;

use super::TimerSource;

/// The reason why [`init`](fn@super::init) could not set the machine up.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::platform::bare::{self, Config, InitError, TimerSource};
///
/// # for hz in [0, 999_999, 100_000_000_001, u64::MAX] {
/// #     // SAFETY: as below.
/// #     let refused = unsafe { bare::init(Config::new().tsc_hz(hz)) };
/// #     assert_eq!(refused.err(), Some(InitError::ImplausibleTscFrequency { hz }));
/// # }
/// let config = Config::new().timer(TimerSource::TscDeadline);
/// // SAFETY: ring 0, one vCPU, interrupts masked, tables and pages as they must be.
/// let mut machine = unsafe { bare::init(config) };
/// if let Err(InitError::NoSuchTimer { lack, .. }) = machine {
///     dormir_guest::println!("{lack}: taking any other timer");
///     // SAFETY: the same; the first call has set nothing up.
///     machine = unsafe { bare::init(Config::new()) };
/// }
/// # assert_eq!(machine?.timer, bare::machine().expect("it is set up").timer);
/// # Ok::<(), InitError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum InitError {
    /// The machine does not have the timer that the guest asks for.
    NoSuchTimer {
        /// The timer.
        timer: TimerSource,
        /// What the machine lacks.
        lack: &'static str,
    },
    /// The machine has no timer at all.
    NoTimer,
    /// Nothing reports the TSC's frequency, and there is no PIT to measure it.
    NoTscFrequency,
    /// The frequency in [`Config`](super::Config) cannot be a TSC's.
    ImplausibleTscFrequency {
        /// The frequency.
        hz: u64,
    },
    /// The local APIC's timer does not count.
    ApicTimerStopped,
    /// `init` was called before, or a clock is installed.
    AlreadyInitialized,
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchTimer { timer, lack } => {
                return write!(
                    f,
                    "this machine cannot use the timer `{timer}`: {lack}; let the guest choose \
                     another timer, or use a VMM that has this one"
                );
            }
            Self::NoTimer => {
                "this machine has no timer: neither a local APIC nor a PIT; give the VM one"
            }
            Self::NoTscFrequency => {
                "nothing reports the TSC's frequency (no pvclock, no CPUID leaf 0x40000010 or \
                 0x15) and there is no PIT to measure it; set Config::tsc_hz"
            }
            Self::ImplausibleTscFrequency { hz } => {
                return write!(
                    f,
                    "a TSC cannot have a frequency of {hz} Hz; set Config::tsc_hz to Hz (1 MHz to \
                     100 GHz), or leave it out to have the frequency found"
                );
            }
            Self::ApicTimerStopped => "the local APIC's timer does not count; use the timer `pit`",
            Self::AlreadyInitialized => "the machine is set up already; call init once",
        })
    }
}

impl core::error::Error for InitError {}
