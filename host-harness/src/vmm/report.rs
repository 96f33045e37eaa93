//! The result of a run.

use std::time::{Duration, Instant};

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
