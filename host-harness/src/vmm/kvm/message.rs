//! What this process and a worker tell each other.

use std::{
    io::{self, Write},
    os::{fd::RawFd, unix::net::UnixStream},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{
    escape::{escape, escape_lines},
    vmm::{Outcome, PortForward, Stretch, VcpuCounters, device::SECTOR},
};

/// Starts the guest of a worker that is ready.
pub(super) const GO: u8 = b'g';

/// The same, of one that has no gate: it is to close itself in first.
pub(super) const GO_WITHOUT_GATE: u8 = b'w';

/// Asks a worker's guest what it is doing, and ends it.
pub(super) const TIME_IS_UP: u8 = b't';

/// What a worker is to do, in one line. Files are named by the numbers under which it inherits
/// them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// `/dev/kvm`, which a process with more rights than its user's may have to open.
    pub(super) kvm: RawFd,
    /// Where the entry is.
    pub(super) entry: u64,
    pub(super) memory_mib: u32,
    /// What the memory has in it, from its beginning.
    pub(super) contents: RawFd,
    pub(super) pit: bool,
    pub(super) steps: bool,
    /// Whether the guest reports what it is doing when it gets an NMI.
    pub(super) has_report: bool,
    /// Whether the guest reads what comes through standard input.
    pub(super) has_input: bool,
    /// Where debuggers connect.
    pub(super) gdb: Option<RawFd>,
    pub(super) devices: Vec<DeviceOrder>,
}

/// A virtio device.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum DeviceOrder {
    Rng,
    Console,
    Disk {
        file: RawFd,
        sectors: u64,
        read_only: bool,
        number: usize,
    },
    Port {
        socket: RawFd,
    },
    Net {
        socket: RawFd,
        /// What is let out only answers connections that these ports get; `None`: all is.
        answers: Option<Vec<PortForward>>,
    },
    Vsock {
        listener: RawFd,
        /// Connects to programs of this host, which the worker cannot.
        dial: RawFd,
    },
}

impl DeviceOrder {
    pub(super) fn is_vsock(&self) -> bool {
        matches!(self, Self::Vsock { .. })
    }

    /// The size of a disk.
    pub(super) fn disk_bytes(&self) -> Option<u64> {
        match self {
            Self::Disk { sectors, .. } => Some(sectors * SECTOR),
            _ => None,
        }
    }
}

/// What a worker tells, each in a line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// The machine is complete, and the worker is confined.
    Ready,
    /// The machine cannot be made: a sentence.
    Refused(String),
    /// A debugger has attached, or has left.
    Debugger(bool),
    Ended(Box<RunEnd>),
}

/// How a run ended, by the word of the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RunEnd {
    /// `None` once it was taken.
    pub(super) ended: Option<Ended>,
    pub(super) counters: VcpuCounters,
    pub(super) stretches: Vec<Stretch>,
    /// How many packets were held back.
    pub(super) held_back: u64,
    /// Whether the network's link was down.
    pub(super) link_is_down: bool,
}

/// Why the loop around the guest ended.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ended {
    Exited(i32),
    TripleFault(Option<String>),
    NotEmulated {
        address: u64,
        bytes: Vec<u8>,
    },
    Died(String),
    /// The time was up: where the guest was, if that is known.
    OutOfTime(Option<String>),
    /// From outside.
    Stopped,
}

impl Ended {
    /// What the guest did to end.
    pub(super) fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Exited(code) => Self::Exited(code),
            Outcome::TripleFault { registers } => Self::TripleFault(registers),
            Outcome::NotEmulated { address, bytes } => Self::NotEmulated { address, bytes },
            Outcome::Died(reason) => Self::Died(reason),
            Outcome::Stopped => Self::Stopped,
            // Of the console or the time, which are not the worker's.
            other => Self::Died(other.to_string()),
        }
    }

    /// What it means, other than the end of the time. Nothing in it is trusted.
    pub(super) fn outcome(self) -> Result<Outcome, Option<String>> {
        Ok(match self {
            Self::Exited(code) => Outcome::Exited(code),
            Self::TripleFault(registers) => Outcome::TripleFault {
                registers: registers.as_deref().map(escape_lines),
            },
            Self::NotEmulated { address, mut bytes } => {
                bytes.truncate(LONGEST_INSTRUCTION);
                Outcome::NotEmulated { address, bytes }
            }
            Self::Died(reason) => Outcome::Died(escape(&reason)),
            Self::Stopped => Outcome::Stopped,
            Self::OutOfTime(place) => return Err(place.as_deref().map(escape)),
        })
    }
}

/// SDM vol. 2, 2.3.11.
const LONGEST_INSTRUCTION: usize = 15;

/// What a worker tells by. Any of its threads may.
#[derive(Debug)]
pub(super) struct Teller(Mutex<UnixStream>);

impl Teller {
    pub(super) fn new(control: UnixStream) -> Self {
        Self(Mutex::new(control))
    }

    pub(super) fn tell(&self, message: &Message) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        let mut control = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        control.write_all(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_what_it_was_but_for_what_is_no_text() {
        for outcome in [
            Outcome::Exited(3),
            Outcome::TripleFault {
                registers: Some("rip 1\nrsp 2".into()),
            },
            Outcome::Died("it is gone".into()),
            Outcome::NotEmulated {
                address: 7,
                bytes: vec![1, 2],
            },
            Outcome::Stopped,
        ] {
            let text = serde_json::to_string(&Ended::of(outcome.clone())).unwrap();
            let read: Ended = serde_json::from_str(&text).unwrap();
            assert_eq!(read.outcome(), Ok(outcome));
        }
        let painted = || "\x1b[31mred".to_owned();
        let escaped = "\\u{1b}[31mred".to_owned();
        let died = Ended::Died(painted()).outcome();
        assert_eq!(died, Ok(Outcome::Died(escaped.clone())));
        let registers = Some(escaped.clone());
        let faulted = Ended::TripleFault(Some(painted())).outcome();
        assert_eq!(faulted, Ok(Outcome::TripleFault { registers }));
        let late = Ended::OutOfTime(Some(painted())).outcome();
        assert_eq!(late, Err(Some(escaped)));
        let (address, bytes) = (0, vec![0x90; 1000]);
        let long = Ended::NotEmulated { address, bytes }.outcome();
        assert!(matches!(long, Ok(Outcome::NotEmulated { bytes, .. }) if bytes.len() == 15));
    }
}
