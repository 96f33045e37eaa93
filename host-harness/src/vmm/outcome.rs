//! How a guest ended, as sentences.

use std::{fmt, time::Duration};

use dormir_abi::exit;

/// How a guest ended. Text from the guest or from QEMU is escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It ended itself with this exit code; 0 is the only success. Codes from 0 to
    /// [`exit::MAX`](dormir_abi::exit::MAX) have a status of their own.
    Exited(i32),
    /// It panicked, with this message and location.
    Panicked(String),
    /// A processor exception ended it.
    Faulted(String),
    /// Its watchdog ended it, because a task did not yield.
    Stalled(String),
    /// It triple-faulted. The registers are known under our own VMM only.
    TripleFault {
        /// The last registers, several lines.
        registers: Option<String>,
    },
    /// It powered its machine off without an exit code.
    PoweredOff,
    /// It was still running at the time limit.
    TimedOut {
        /// The time limit.
        limit: Duration,
        /// Where it was, if known: what it was doing by its own report, with the line; or
        /// `halted at 0x...`, `running at 0x...`, or not started yet.
        place: Option<String>,
    },
    /// It exceeded the limit of its console output.
    ConsoleFlooded {
        /// The limit in bytes.
        limit: u64,
    },
    /// It executed an instruction that this KVM cannot emulate.
    NotEmulated {
        /// The instruction's address.
        address: u64,
        /// The first bytes at that address.
        bytes: Vec<u8>,
    },
    /// The run was stopped from outside, for example by Ctrl-C.
    Stopped,
    /// The reader of the console closed it.
    ConsoleClosed,
    /// Its console output could not be written, for this reason.
    ConsoleFailed(String),
    /// The VM ended without a report from the guest.
    Died(String),
}

impl Outcome {
    /// Makes the outcome for a failure of KVM's emulator at `address`, where these bytes could be
    /// read: none, if there is no memory.
    pub(super) fn not_emulated(address: u64, bytes: Vec<u8>) -> Self {
        if bytes.is_empty() {
            return Self::Died(format!(
                "it jumped to {address:#x}, where there is no memory: look for a bad function \
                 pointer or a spoiled stack"
            ));
        }
        Self::NotEmulated { address, bytes }
    }

    /// Returns whether the guest ended itself with exit code 0.
    #[must_use]
    pub fn is_success(&self) -> bool {
        *self == Self::Exited(exit::SUCCESS.into())
    }

    /// Returns whether the guest's machine lacks what the guest needs; the guest's console names
    /// it.
    #[must_use]
    pub fn is_setup_failure(&self) -> bool {
        *self == Self::Exited(exit::SETUP_FAILED.into())
    }

    /// Returns the exit status for a command that ran this guest: the guest's own code, or the one
    /// that stands for the way it ended. Only success is 0. A guest's code that is negative or
    /// above 111 has no status of its own: it becomes 111, and the sentence names it.
    ///
    /// | status | the guest |
    /// | --- | --- |
    /// | 0 to 110 | ended itself with this code |
    /// | 111 | ended itself with this code, or one without a status |
    /// | 101 | panicked |
    /// | 102 | was ended by a processor exception |
    /// | 103 | was ended by its watchdog |
    /// | 118 | powered its machine off without an exit code |
    /// | 119 | was stopped because its console could not be written |
    /// | 120 | triple-faulted |
    /// | 121 | executed an instruction that this KVM cannot emulate |
    /// | 122 | exceeded the limit of its console output |
    /// | 123 | died with its VM |
    /// | 124 | reached the time limit, as with `timeout(1)` |
    /// | 130 | was stopped, as shells report Ctrl-C |
    /// | 141 | lost its console, as shells report a broken pipe |
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exited(code) => u8::try_from(*code).map_or(exit::MAX, |code| code.min(exit::MAX)),
            Self::Panicked(_) => exit::PANIC,
            Self::Faulted(_) => exit::EXCEPTION,
            Self::Stalled(_) => exit::STALLED,
            Self::PoweredOff => 118,
            Self::ConsoleFailed(_) => 119,
            Self::TripleFault { .. } => 120,
            Self::NotEmulated { .. } => 121,
            Self::ConsoleFlooded { .. } => 122,
            Self::Died(_) => 123,
            Self::TimedOut { .. } => 124,
            Self::Stopped => 130,
            Self::ConsoleClosed => 141,
        }
    }
}

/// Returns the sentence about a guest that was still running at its time limit, which `option`
/// sets.
pub(crate) fn timed_out(limit: Duration, place: Option<&str>, option: &str) -> String {
    let (comma, place) = place.map_or(("", ""), |place| (", ", place));
    format!(
        "the guest had not ended at its time limit of {limit:?}{comma}{place}: find out what it \
         waits for, or raise {option}"
    )
}

/// Writes one sentence: what happened and, where that is not obvious, what to do next. A triple
/// fault's registers follow on separate lines.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(0) => f.write_str("the guest ended with success"),
            Self::Exited(code) if !(0..=exit::MAX.into()).contains(code) => write!(
                f,
                "the guest ended itself with exit code {code}, for which {} stands as the status: \
                 its console says why, and codes from 0 to {0} have a status of their own",
                exit::MAX
            ),
            Self::Exited(code) => write!(
                f,
                "the guest ended itself with exit code {code}: its console says why"
            ),
            Self::Panicked(message) => write!(f, "the guest panicked: {message}"),
            Self::Faulted(message) => {
                write!(f, "a processor exception ended the guest: {message}")
            }
            Self::Stalled(message) => write!(f, "the guest's watchdog ended it: {message}"),
            Self::TripleFault {
                registers: Some(registers),
            } => write!(
                f,
                "the guest triple-faulted: it faulted where its own handlers could not run; look \
                 up rip and cr2 in its disassembly:\n{registers}"
            ),
            Self::TripleFault { registers: None } => f.write_str(
                "the guest triple-faulted or reset its machine: run it with --vmm kvm to see its \
                 last registers",
            ),
            Self::PoweredOff => f.write_str(
                "the guest powered its machine off without an exit code: make it write one to the \
                 exit port, as dormir_guest::exit does",
            ),
            Self::TimedOut { limit, place } => {
                f.write_str(&timed_out(*limit, place.as_deref(), "--timeout"))
            }
            Self::ConsoleFlooded { limit } => write!(
                f,
                "the guest wrote more than {limit} bytes to its console and was stopped: look for \
                 a loop that prints"
            ),
            Self::NotEmulated { address, bytes } => {
                write!(
                    f,
                    "this KVM cannot emulate the guest's instruction at {address:#x} (bytes"
                )?;
                for byte in bytes {
                    write!(f, " {byte:02x}")?;
                }
                f.write_str("): build the guest without it, or pass --vmm qemu-tcg")
            }
            Self::Stopped => f.write_str("the guest was stopped from outside before it ended"),
            Self::ConsoleClosed => f.write_str(
                "the guest was stopped because its console was closed: keep the reader of the \
                 output open until the guest ends",
            ),
            Self::ConsoleFailed(reason) => write!(
                f,
                "the guest was stopped because its console could not be written ({reason}): send \
                 the output somewhere else"
            ),
            Self::Died(reason) => write!(f, "the guest's VM ended: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of_each_failure() -> Vec<Outcome> {
        vec![
            Outcome::Exited(1),
            Outcome::Panicked("src/main.rs:1:1: no".into()),
            Outcome::Faulted("page fault".into()),
            Outcome::Stalled("a task has not yielded".into()),
            Outcome::TripleFault { registers: None },
            Outcome::PoweredOff,
            Outcome::TimedOut {
                limit: Duration::from_secs(1),
                place: None,
            },
            Outcome::ConsoleFlooded { limit: 1 },
            Outcome::NotEmulated {
                address: 0x10_0000,
                bytes: vec![0xf3, 0x0f, 0xb8],
            },
            Outcome::Stopped,
            Outcome::ConsoleClosed,
            Outcome::ConsoleFailed("no space".into()),
            Outcome::Died("it is gone".into()),
        ]
    }

    #[test]
    fn only_exit_code_zero_is_a_success() {
        assert!(Outcome::Exited(0).is_success());
        assert_eq!(Outcome::Exited(0).exit_code(), 0);
        for outcome in one_of_each_failure() {
            assert!(!outcome.is_success(), "{outcome:?}");
            assert_ne!(outcome.exit_code(), 0, "{outcome:?}");
        }
    }

    #[test]
    fn no_code_of_32_bits_but_zero_becomes_success_or_another_end() {
        let corners = (0..32).flat_map(|bit| {
            let high = 1_u32 << bit;
            [high - 1, high, high + 1, !high]
        });
        let statuses = [
            78, 101, 102, 103, 119, 120, 121, 122, 123, 124, 125, 130, 141,
        ];
        let all = corners.chain(0..1 << 10).chain([u32::MAX]).chain(statuses);
        for code in all.map(u32::cast_signed) {
            let outcome = Outcome::Exited(code);
            let status = outcome.exit_code();
            assert_eq!(outcome.is_success(), code == 0, "{code}");
            assert_eq!(status == 0, code == 0, "{code}");
            assert!(status <= exit::MAX, "{code}: {status}");
            let is_status = (0..=i32::from(exit::MAX)).contains(&code);
            assert_eq!(i32::from(status) == code, is_status, "{code}: {status}");
            assert!(code == 0 || outcome.to_string().contains(&format!(" {code}")));
        }
    }

    #[test]
    fn every_failure_has_a_status_and_a_sentence_of_its_own() {
        let failures = one_of_each_failure();
        for (index, one) in failures.iter().enumerate() {
            for other in &failures[index + 1..] {
                assert_ne!(one.exit_code(), other.exit_code(), "{one:?} and {other:?}");
                assert_ne!(one.to_string(), other.to_string());
            }
        }
    }

    #[test]
    fn no_status_but_those_of_the_abi_can_be_mistaken_for_a_guests_own_code() {
        for outcome in one_of_each_failure() {
            if !matches!(
                outcome,
                Outcome::Exited(_)
                    | Outcome::Panicked(_)
                    | Outcome::Faulted(_)
                    | Outcome::Stalled(_)
            ) {
                assert!(outcome.exit_code() > exit::MAX, "{outcome:?}");
            }
        }
    }

    #[test]
    fn an_instruction_is_shown_with_its_bytes_and_address() {
        let sentence = Outcome::NotEmulated {
            address: 0x10_0042,
            bytes: vec![0xf3, 0x0f, 0xb8, 0xc0],
        }
        .to_string();
        assert!(sentence.contains("0x100042"), "{sentence}");
        assert!(sentence.contains("f3 0f b8 c0"), "{sentence}");
    }

    #[test]
    fn a_hang_is_shown_with_its_place() {
        let sentence = Outcome::TimedOut {
            limit: Duration::from_secs(3),
            place: Some("halted at 0x100010".into()),
        }
        .to_string();
        assert!(sentence.contains("3s, halted at 0x100010"), "{sentence}");
    }
}
