//! Runs a guest: on a choice of VMMs, within limits, and with a report of the result.

mod attend;
mod backtrace;
mod command_line;
mod companion;
mod config;
mod console;
mod device;
mod error;
mod feed;
mod gdb;
mod image;
mod input;
pub mod kvm;
mod limit;
mod outcome;
pub mod qemu;
mod report;
mod send;
mod source;
mod steps;

pub use crate::stop::StopToken;
pub(crate) use attend::{ChildEnd, Limits, attend};
#[doc(hidden)]
pub use backtrace::fuzz::fuzz_backtrace;
pub use backtrace::{Backtrace, Frame, Origin, Stall};
pub(crate) use command_line::new_nonce;
pub use config::{Accelerator, MAX_ARGUMENTS_LENGTH, MachineType, RunConfig, UnknownVmmError, Vmm};
pub(crate) use console::{Console, Splitter};
pub use device::{
    Device, DeviceError, MAX_DEVICES, NetError, PortForward, PortForwardError, VsockError,
    free_port,
};
pub use error::RunError;
pub use gdb::{GdbListener, GdbPortError};
#[doc(hidden)]
pub use image::fuzz::fuzz_image;
pub use image::{ImageError, MAX_MEMORY_MIB, MIN_MEMORY_MIB};
pub use input::GuestInput;
pub use outcome::Outcome;
pub(crate) use outcome::timed_out;
pub(crate) use qemu::{Messages, MonitorEvents};
pub use report::{GuestTime, PanicMessage, Report, VcpuCounters, Warning};
pub use steps::{EventKind, StepEvent, Stretch};

use std::{io::Write, path::Path, time::Instant};

use command_line::GuestCommandLine;
use device::OpenDevice;
use dormir_abi::serial;
use image::Image;
use limit::{Limit, Unstarted};

/// Runs the guest in the file `elf` and waits for it to end.
///
/// The guest's console output goes to `console` as it comes, unchanged. A guest that is built with
/// `dormir-guest` also writes records, which are filtered out; they carry a nonce that is new in
/// each run, so that no text can be mistaken for one. The output of a foreign guest is all text.
///
/// With [`Vmm::Kvm`] the guest runs in a process of its own, which is confined: this program,
/// started once more from `/proc/self/exe` with the variable `DORMIR_VM_CONTROL` in its
/// environment, in which a constructor takes over before `main`. Other constructors of the program
/// run there, too, and must print nothing. So the library must be linked into the executable, and
/// not be loaded later.
///
/// At the time limit a guest that writes records is sent an NMI, and has five seconds to report
/// what it was doing ([`Report::backtrace`]). The call returns shortly after that, or after a stop
/// by the [`StopToken`], and leaves no process and no thread behind. A `console` that cannot accept
/// more may fail with [`WouldBlock`], and is retried until then; one that blocks in `write` forever
/// blocks the call.
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
            panic: None,
            stats: Vec::new(),
            samples: Vec::new(),
            data: Vec::new(),
            data_dropped: 0,
            times: Vec::new(),
            wall: started.elapsed(),
            counters: None,
            stretches: Vec::new(),
            backtrace: None,
            stalls: Vec::new(),
            warnings: Vec::new(),
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
    let line = GuestCommandLine::new(
        image.has_records(),
        config.has_serial_input(),
        &config.arguments,
    )?;
    let devices = device::open_all(&config.devices).map_err(RunError::Device)?;
    let given = Given { line, devices };
    match config.vmm {
        Vmm::Kvm => {
            let entry = image.direct_entry().map_err(problem)?;
            kvm::run(&image, entry, given, config, &limit, console)
        }
        Vmm::Qemu(accelerator, machine) => {
            let entry = image.pvh_entry().map_err(problem)?;
            let how = (accelerator, machine);
            qemu::run(&image, entry, how, given, config, &limit, console)
        }
    }
}

/// What a guest is given beside its image and its memory.
struct Given {
    line: GuestCommandLine,
    devices: Vec<OpenDevice>,
}

impl RunConfig {
    /// Checks everything that does not depend on the guest.
    fn check(&self) -> Result<(), RunError> {
        if !(MIN_MEMORY_MIB..=MAX_MEMORY_MIB).contains(&self.memory_mib) {
            return Err(RunError::Memory {
                asked: self.memory_mib,
            });
        }
        // With input the guest gets one argument more, and a blank; so it does for each device.
        let of_input = self
            .input
            .as_ref()
            .map_or(0, |_| serial::ARGUMENT.len() + 1);
        let of_devices = self.devices.len() * device::WORD_LENGTH;
        let length = self.arguments.len() + of_input + of_devices;
        if length > MAX_ARGUMENTS_LENGTH {
            return Err(RunError::ArgumentsTooLong { length });
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
        if self.steps && self.gdb.is_some() {
            return Err(RunError::StepsWithDebugger);
        }
        if self.gdb.is_some() && self.devices.iter().any(Device::reaches_out) {
            return Err(RunError::NetworkWithDebugger);
        }
        Ok(())
    }
}
