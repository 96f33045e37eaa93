//! What can stand in the way of setting the machine up.

use core::fmt;

use super::TimerSource;

/// Why [`init`](super::init) could not set the machine up.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::platform::bare::{self, Config, InitError, TimerSource};
///
/// # for hz in [0, 999_999, 100_000_000_001, u64::MAX] {
/// #     // SAFETY: as below.
/// #     let refused = unsafe { bare::init(Config { tsc_hz: Some(hz), ..Config::default() }) };
/// #     assert_eq!(refused.err(), Some(InitError::ImplausibleTscFrequency { hz }));
/// # }
/// let config = Config { timer: Some(TimerSource::TscDeadline), ..Config::default() };
/// // SAFETY: ring 0, one vCPU, interrupts masked, tables and pages as they must be.
/// let mut machine = unsafe { bare::init(config) };
/// if let Err(InitError::NoSuchTimer { lack, .. }) = machine {
///     dormir_guest::println!("{lack}, so any timer will do");
///     // SAFETY: the same; the first call has set nothing up.
///     machine = unsafe { bare::init(Config::default()) };
/// }
/// # assert_eq!(machine?.timer, bare::machine().expect("it is set up").timer);
/// # Ok::<(), InitError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InitError {
    /// The timer that was asked for is not there.
    NoSuchTimer {
        /// Which one.
        timer: TimerSource,
        /// What the machine lacks.
        lack: &'static str,
    },
    /// There is no timer at all.
    NoTimer,
    /// Nobody says how fast the TSC counts, and there is no PIT to measure it.
    NoTscFrequency,
    /// The frequency that was given for the TSC is none that one has.
    ImplausibleTscFrequency {
        /// Which one.
        hz: u64,
    },
    /// The local APIC's timer does not count.
    ApicTimerStopped,
    /// `init` was called before, or a clock is installed.
    AlreadyInitialized,
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchTimer { timer, lack } => {
                write!(f, "this machine cannot use the timer `{timer}`: {lack}; leave the choice open, or run it under a VMM that has it")
            }
            Self::NoTimer => f.write_str("this machine has neither a local APIC nor a PIT to interrupt a halt; give the VM one"),
            Self::NoTscFrequency => f.write_str("nothing says how fast the TSC counts (no pvclock, no CPUID leaf 0x40000010 or 0x15) and there is no PIT to measure it; give Config::tsc_hz"),
            Self::ImplausibleTscFrequency { hz } => {
                write!(f, "no TSC counts {hz} times a second; give Config::tsc_hz in Hz (1 MHz to 100 GHz), or None to have it found out")
            }
            Self::ApicTimerStopped => f.write_str("the local APIC's timer does not count; use the timer `pit`"),
            Self::AlreadyInitialized => f.write_str("the machine is set up already: call init once"),
        }
    }
}

impl core::error::Error for InitError {}
