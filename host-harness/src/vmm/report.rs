//! The result of a run.

use std::{
    fmt,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    backtrace::{Backtrace, Stall},
    outcome::Outcome,
    steps::Stretch,
};

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// How the guest ended.
    pub outcome: Outcome,
    /// What the guest's panic said, if it panicked.
    pub panic: Option<PanicMessage>,
    /// The figures that the guest reported, in the order of its reports.
    pub stats: Vec<(String, u64)>,
    /// The series of figures that the guest reported, by name, in the order of their first figures.
    pub samples: Vec<(String, Vec<u64>)>,
    /// The data that the guest sent (`dormir_guest::send`), by name, in the order of their first
    /// pieces. The names are [names of files](dormir_abi::record::is_data_name), at most 256.
    pub data: Vec<(String, Vec<u8>)>,
    /// How many pieces of data were dropped, because they came under further names.
    pub data_dropped: u64,
    /// The times of the guest's clock that it reported.
    pub times: Vec<GuestTime>,
    /// From the start of the VM (for QEMU: of its process) to its end.
    pub wall: Duration,
    /// What KVM counted, if the VMM can read it.
    pub counters: Option<VcpuCounters>,
    /// The stretches that were stepped through, if steps were asked for.
    pub stretches: Vec<Stretch>,
    /// Where the guest was when it panicked, was ended by an exception, or reached its time limit;
    /// `None` if it did not report that.
    pub backtrace: Option<Backtrace>,
    /// What the guest's watchdog found, if the guest went on after that: the first fifteen, and the
    /// last.
    pub stalls: Vec<Stall>,
    /// What the guest did not cause or may not have noticed, and what may explain how it ended.
    pub warnings: Vec<Warning>,
}

/// Something around a guest that may explain how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// The guest sent as many packets that its network did not let out, since the guest was only to
    /// answer ([`Device::Net`](super::Device::Net)). Only our own VMM counts them.
    HeldBack(u64),
    /// The program that connected the guest's network ended before the guest.
    NetworkEnded,
    /// The program that served the guest's sockets ended before the guest.
    SocketsEnded,
    /// QEMU ran without a gate for its system calls, which this system does not have. (Our own VMM
    /// closes itself in there.)
    Unconfined,
}

/// Writes a sentence.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeldBack(count) => write!(
                f,
                "{count} packets of the guest were held back, since it only answers: if it is to \
                 open connections, pass --net user,restrict=off"
            ),
            Self::Unconfined => {
                f.write_str("QEMU was not confined: `cargo vm doctor` says what this system lacks")
            }
            Self::SocketsEnded => f.write_str(
                "vhost-device-vsock, which served the guest's sockets, ended before the guest, \
                 whose connections ended with it: see whether the system's log says why",
            ),
            Self::NetworkEnded => f.write_str(
                "passt, which connected the guest's network, ended before the guest, whose link \
                 was down from then on: see whether the system's log says why",
            ),
        }
    }
}

impl Report {
    /// Returns the data that the guest sent under this name.
    #[must_use]
    pub fn sent(&self, name: &str) -> Option<&[u8]> {
        let data = self.data.iter().find(|(known, _)| known == name)?;
        Some(&data.1)
    }
}

/// What a panic said, without the task and the location, which [`Outcome::Panicked`] has too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicMessage {
    /// The message, in one line; escaped.
    pub text: String,
    /// Whether the guest has cut the message, to fit into a record.
    pub is_cut: bool,
}

/// A time of the guest's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestTime {
    /// In nanoseconds since an arbitrary moment.
    pub nanos: u64,
    /// When the report arrived here, which is after the guest read its clock.
    pub at: Instant,
}

/// What KVM counted for the vCPU (`KVM_GET_STATS_FD`); `None` if this kernel does not count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VcpuCounters {
    /// Exits to this process (returns from `KVM_RUN`), counted by the VMM itself.
    pub userspace_exits: u64,
    /// How often the vCPU executed `hlt`.
    pub halt_exits: Option<u64>,
    /// Interrupts injected.
    pub irq_injections: Option<u64>,
    /// Instructions that KVM emulated.
    pub emulated_instructions: Option<u64>,
}
