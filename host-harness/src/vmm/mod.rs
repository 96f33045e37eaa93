//! Runs a guest: on a choice of VMMs, within limits, and with a report of the result.

mod attend;
mod console;
mod error;
mod image;
pub mod kvm;
mod limit;
mod outcome;
pub mod qemu;
mod steps;

pub use crate::stop::StopToken;
pub(crate) use attend::{ChildEnd, Limits, attend};
pub(crate) use console::{Console, Splitter};
pub use error::RunError;
#[doc(hidden)]
pub use image::fuzz_image;
pub use image::{ImageError, MAX_MEMORY_MIB, MIN_MEMORY_MIB};
pub use outcome::Outcome;
pub(crate) use qemu::{Messages, MonitorEvents};
pub use steps::{EventKind, StepEvent, Stretch};

use std::{
    fmt,
    io::Write,
    path::Path,
    str::FromStr,
    time::{Duration, Instant},
};

use dormir_abi::record::{NONCE_ARGUMENT, Nonce};
use image::Image;
use limit::{Limit, Unstarted};
use rustix::rand::{GetRandomFlags, getrandom};

/// The longest command line of a guest, in bytes.
pub const MAX_ARGUMENTS_LENGTH: usize = dormir_abi::MAX_COMMAND_LINE;

/// A virtual machine monitor and, for QEMU, its accelerator and machine type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vmm {
    /// The harness's own VMM, on `/dev/kvm`.
    Kvm,
    /// `qemu-system-x86_64`.
    Qemu(Accelerator, MachineType),
}

/// What executes the guest's code under QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accelerator {
    /// `/dev/kvm`.
    Kvm,
    /// QEMU's own translator, which needs no hardware support.
    Tcg,
}

/// QEMU's machine type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MachineType {
    /// A full PC with firmware.
    Q35,
    /// A machine without PCI, designed for micro-VMs.
    Microvm,
}

impl Vmm {
    /// Every VMM.
    pub const ALL: [Self; 5] = [
        Self::Kvm,
        Self::Qemu(Accelerator::Tcg, MachineType::Q35),
        Self::Qemu(Accelerator::Tcg, MachineType::Microvm),
        Self::Qemu(Accelerator::Kvm, MachineType::Q35),
        Self::Qemu(Accelerator::Kvm, MachineType::Microvm),
    ];
}

/// Writes the name that tests and the command line use: `kvm`, `qemu-tcg/q35`, `qemu-kvm/microvm`.
impl fmt::Display for Vmm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Qemu(Accelerator::Tcg, MachineType::Q35) => "qemu-tcg/q35",
            Self::Qemu(Accelerator::Tcg, MachineType::Microvm) => "qemu-tcg/microvm",
            Self::Qemu(Accelerator::Kvm, MachineType::Q35) => "qemu-kvm/q35",
            Self::Qemu(Accelerator::Kvm, MachineType::Microvm) => "qemu-kvm/microvm",
        })
    }
}

/// Parses what [`Display`](fmt::Display) writes.
impl FromStr for Vmm {
    type Err = UnknownVmmError;

    fn from_str(name: &str) -> Result<Self, UnknownVmmError> {
        Self::ALL
            .into_iter()
            .find(|vmm| vmm.to_string() == name)
            .ok_or_else(|| UnknownVmmError(name.to_owned()))
    }
}

/// A name that is not one of [`Vmm::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no VMM named `{0}`: use kvm, qemu-tcg/q35, qemu-tcg/microvm, qemu-kvm/q35 or \
     qemu-kvm/microvm"
)]
pub struct UnknownVmmError(String);

/// How a guest is run.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// The VMM that runs it.
    pub vmm: Vmm,
    /// The guest's RAM in MiB.
    pub memory_mib: u32,
    /// The guest's time limit, its start included.
    pub timeout: Duration,
    /// The guest's command line: its arguments, separated by blanks.
    pub arguments: String,
    /// The limit of the guest's console output, in bytes.
    pub console_limit: u64,
    /// Whether the harness's own VMM creates a PIT (QEMU's machines always have one). A PIT makes
    /// the VM slower to shut down, so only a guest that needs one should have it.
    pub pit: bool,
    /// Whether QEMU TCG counts time in instructions (`-icount shift=0,sleep=off`), so that every
    /// run executes the same instructions. Refused with any other VMM.
    pub count_instructions: bool,
    /// Whether the harness's own VMM single-steps through the guest's instructions where the guest
    /// asks for it ([`dormir_abi::port::STEPS`]). Refused with any other VMM.
    pub steps: bool,
    /// Stops the run from another thread, or on Ctrl-C.
    pub stop: StopToken,
}

impl RunConfig {
    /// The defaults: 64 MiB, 60 s, no arguments, 16 MiB of console output, no PIT, no steps.
    #[must_use]
    pub fn new(vmm: Vmm) -> Self {
        Self {
            vmm,
            memory_mib: 64,
            timeout: Duration::from_secs(60),
            arguments: String::new(),
            console_limit: 16 << 20,
            pit: false,
            count_instructions: false,
            steps: false,
            stop: StopToken::default(),
        }
    }
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// How the guest ended.
    pub outcome: Outcome,
    /// The figures that the guest reported, in the order of its reports.
    pub stats: Vec<(String, u64)>,
    /// The series of figures that the guest reported, by name, in the order of their first figures.
    pub samples: Vec<(String, Vec<u64>)>,
    /// The times of the guest's clock that it reported.
    pub times: Vec<GuestTime>,
    /// From the start of the VM (for QEMU: of its process) to its end.
    pub wall: Duration,
    /// What KVM counted, if the VMM can read it.
    pub counters: Option<VcpuCounters>,
    /// The stretches that were stepped through, if steps were asked for.
    pub stretches: Vec<Stretch>,
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

/// A guest's command line, and the nonce in it.
#[derive(Debug)]
struct GuestCommandLine {
    /// The start of each of its records. A foreign guest has no records.
    nonce: Option<Nonce>,
    text: String,
}

impl GuestCommandLine {
    /// Makes the command line of a guest with records, or of a foreign one.
    fn new(has_records: bool, arguments: &str) -> Result<Self, RunError> {
        if !has_records {
            return Ok(Self {
                nonce: None,
                text: arguments.to_owned(),
            });
        }
        let nonce = new_nonce()?;
        let gap = if arguments.is_empty() { "" } else { " " };
        Ok(Self {
            nonce: Some(nonce),
            text: format!("{NONCE_ARGUMENT}{nonce}{gap}{arguments}"),
        })
    }
}

/// Makes a new random nonce.
pub(crate) fn new_nonce() -> Result<Nonce, RunError> {
    let mut bits = [0; 8];
    getrandom(&mut bits, GetRandomFlags::empty()).map_err(|errno| RunError::Resource {
        what: "a random number",
        cause: errno.into(),
    })?;
    Ok(Nonce::new(u64::from_ne_bytes(bits)))
}

/// Runs the guest in the file `elf` and waits for it to end.
///
/// The guest's console output goes to `console` as it comes, unchanged. A guest that is built with
/// `dormir-guest` also writes records, which are filtered out; they carry a nonce that is new in
/// each run, so that no text can be mistaken for one. The output of a foreign guest is all text.
///
/// The call returns shortly after the time limit or a stop by the [`StopToken`], and leaves no
/// process and no thread behind. A `console` that cannot accept more may fail with [`WouldBlock`],
/// and is retried until then; one that blocks in `write` forever blocks the call.
///
/// [`WouldBlock`]: std::io::ErrorKind::WouldBlock
///
/// # Errors
///
/// The file, the configuration or the VMM cannot be used; no guest has run.
pub fn run(
    elf: &Path,
    config: &RunConfig,
    console: &mut (dyn Write + Send),
) -> Result<Report, RunError> {
    let started = Instant::now();
    match launch(elf, config, console) {
        Ok(report) => Ok(report),
        Err(Unstarted::Refused(error)) => Err(error),
        Err(Unstarted::Cut(outcome)) => Ok(Report {
            outcome,
            stats: Vec::new(),
            samples: Vec::new(),
            times: Vec::new(),
            wall: started.elapsed(),
            counters: None,
            stretches: Vec::new(),
        }),
    }
}

fn launch(
    elf: &Path,
    config: &RunConfig,
    console: &mut (dyn Write + Send),
) -> Result<Report, Unstarted> {
    let limit = Limit::new(config);
    config.check()?;
    let problem = |problem| RunError::Image {
        path: elf.to_owned(),
        problem,
    };
    let image = Image::open(elf).map_err(problem)?;
    image.check_memory(config.memory_mib).map_err(problem)?;
    let line = GuestCommandLine::new(image.has_records(), &config.arguments)?;
    match config.vmm {
        Vmm::Kvm => {
            let entry = image.direct_entry().map_err(problem)?;
            kvm::run(&image, entry, &line, config, &limit, console)
        }
        Vmm::Qemu(accelerator, machine) => {
            let entry = image.pvh_entry().map_err(problem)?;
            let how = (accelerator, machine);
            qemu::run(&image, entry, how, &line, config, &limit, console)
        }
    }
}

impl RunConfig {
    /// Checks everything that does not depend on the guest.
    fn check(&self) -> Result<(), RunError> {
        if !(MIN_MEMORY_MIB..=MAX_MEMORY_MIB).contains(&self.memory_mib) {
            return Err(RunError::Memory {
                asked: self.memory_mib,
            });
        }
        if self.arguments.len() > MAX_ARGUMENTS_LENGTH {
            return Err(RunError::ArgumentsTooLong {
                length: self.arguments.len(),
            });
        }
        if self.arguments.contains('\0') {
            return Err(RunError::ArgumentsWithNul);
        }
        if self.count_instructions && !matches!(self.vmm, Vmm::Qemu(Accelerator::Tcg, _)) {
            return Err(RunError::CannotCountInstructions { vmm: self.vmm });
        }
        if self.steps && self.vmm != Vmm::Kvm {
            return Err(RunError::CannotStep { vmm: self.vmm });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vmm_is_found_by_its_name() {
        for vmm in Vmm::ALL {
            assert_eq!(vmm.to_string().parse(), Ok(vmm));
        }
        let error = "qemu".parse::<Vmm>().unwrap_err();
        assert!(error.to_string().contains("`qemu`"), "{error}");
    }
}
