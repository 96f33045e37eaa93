//! Errors before a guest runs, as sentences.

use std::{io, path::PathBuf};

use super::{config::Vmm, device::DeviceError, image::ImageError};

/// Why a guest could not be run. How a guest that ran ended is an [`Outcome`](super::Outcome).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The file is not a guest for this VMM, or does not fit into its memory.
    #[error("{}: {problem}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: ImageError,
    },
    /// The requested memory is outside the range that the VMMs support.
    #[error(
        "a guest cannot have {asked} MiB of memory: pass --memory with {} to {}",
        super::image::MIN_MEMORY_MIB,
        super::image::MAX_MEMORY_MIB
    )]
    Memory {
        /// The requested memory, in MiB.
        asked: u32,
    },
    /// The guest's arguments do not fit into its command line.
    #[error(
        "the guest's arguments take {length} bytes, and its command line holds {}: shorten them",
        super::MAX_ARGUMENTS_LENGTH
    )]
    ArgumentsTooLong {
        /// Their length in bytes.
        length: usize,
    },
    /// The guest's arguments contain a byte that would end its command line early.
    #[error("the guest's arguments contain a NUL byte, which ends a command line: leave it out")]
    ArgumentsWithNul,
    /// The VMM cannot count time in instructions.
    #[error(
        "{vmm} cannot count time in instructions: only QEMU's translator can, so pass --vmm \
         qemu-tcg"
    )]
    CannotCountInstructions {
        /// The VMM.
        vmm: Vmm,
    },
    /// The VMM cannot step through instructions.
    #[error("{vmm} cannot step through a guest: only our own VMM does, so pass --vmm kvm")]
    CannotStep {
        /// The VMM.
        vmm: Vmm,
    },
    /// Steps and a debugger were asked for, which both stop the guest.
    #[error(
        "a guest whose instructions are stepped through cannot be debugged: ask for one of both"
    )]
    StepsWithDebugger,
    /// A debugger was asked for, and a network in which the guest would reach its port.
    #[error(
        "a guest that opens connections cannot be debugged: it would reach the debugger's port, \
         and could run without a time limit; leave out the debugger, or the network's restrict=off"
    )]
    NetworkWithDebugger,
    /// The guest cannot have one of its devices.
    #[error(transparent)]
    Device(DeviceError),
    /// There is no `/dev/kvm`.
    #[error(
        "there is no /dev/kvm: enable virtualisation in the firmware (on a virtual machine: nested \
         virtualisation), load the module kvm_intel or kvm_amd, or pass --vmm qemu-tcg, which \
         needs none of these"
    )]
    KvmMissing,
    /// `/dev/kvm` may not be opened.
    #[error(
        "/dev/kvm may not be opened by this user: add the user to its group (`sudo usermod -aG kvm \
         $USER`, then log in again), or pass --vmm qemu-tcg, which does not need it"
    )]
    KvmDenied,
    /// `/dev/kvm` cannot be opened, for another reason.
    #[error(
        "/dev/kvm cannot be opened ({0}): see whether `dmesg` says why, or pass --vmm qemu-tcg, \
         which does not need it"
    )]
    KvmOpen(io::Error),
    /// `/dev/kvm` has another version of the interface.
    #[error(
        "/dev/kvm has version {found} of its interface, and this program needs version 12, the \
         only one since Linux 2.6.22: pass --vmm qemu-tcg"
    )]
    KvmVersion {
        /// The version found.
        found: i32,
    },
    /// This KVM lacks a feature that our VMM needs.
    #[error("this KVM lacks {0}, which our VMM needs: use a newer kernel, or pass --vmm qemu-tcg")]
    KvmLacks(&'static str),
    /// A step of creating the virtual machine failed.
    #[error("KVM failed to {step} ({cause}): try again, or pass --vmm qemu-tcg")]
    KvmStep {
        /// The step, as a verb and its object.
        step: &'static str,
        /// The kernel's error.
        cause: io::Error,
    },
    /// The guest's memory could not be allocated or filled.
    #[error("the guest's memory could not be {step} ({cause}): try a smaller --memory")]
    GuestMemory {
        /// The step, as a participle.
        step: &'static str,
        /// The error of the library or the kernel.
        cause: String,
    },
    /// The guest's image could not be loaded, although its headers are valid.
    #[error("the guest's image could not be loaded ({0}): build or copy it again")]
    NotLoaded(String),
    /// Our own VMM could not make the guest's machine in its process.
    #[error("{message}")]
    VmProcess {
        /// A sentence.
        message: String,
    },
    /// This process could not get a thread or a file descriptor.
    #[error(
        "{what} could not be created ({cause}): end other programs, or raise the limits \
         (`ulimit -a`)"
    )]
    Resource {
        /// What could not be created.
        what: &'static str,
        /// The kernel's error.
        cause: io::Error,
    },
    /// QEMU is not installed, or not where `DORMIR_QEMU` says.
    #[error(
        "there is no {program}: install QEMU (on Debian: apt-get install --no-install-recommends \
         qemu-system-x86), or name another one in DORMIR_QEMU"
    )]
    QemuMissing {
        /// The program that was searched for.
        program: String,
    },
    /// QEMU could not be started, for another reason.
    #[error(
        "{program} could not be started ({cause}): see whether `{program} --version` works, or \
         name another one in DORMIR_QEMU"
    )]
    QemuStart {
        /// The program.
        program: String,
        /// The kernel's error.
        cause: io::Error,
    },
    /// The program that was started does not behave like QEMU.
    #[error(
        "`{program} --version` {problem}: name a qemu-system-x86_64 of version 7.2 or later in \
         DORMIR_QEMU"
    )]
    QemuUnusable {
        /// The program.
        program: String,
        /// What it did.
        problem: String,
    },
    /// No Hyperlight sandbox ran the guest to its end.
    #[error("Hyperlight could not run the guest: {message}")]
    Hyperlight {
        /// The runner's message.
        message: String,
    },
    /// The program that runs Hyperlight guests could not be started.
    #[error("`{}` could not be started ({cause}): build it again", program.display())]
    RunnerStart {
        /// The program.
        program: PathBuf,
        /// The kernel's error.
        cause: io::Error,
    },
    /// QEMU rejected its command line or could not set up the machine.
    #[error(
        "QEMU ended before it ran the guest ({message}): see whether its message explains it, or \
         pass another --vmm"
    )]
    QemuRefused {
        /// How it ended, and what it wrote to standard error.
        message: String,
    },
}

impl RunError {
    /// Makes a function for `map_err` on a call to KVM.
    pub(super) fn kvm(step: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Self {
        move |errno| Self::KvmStep {
            step,
            cause: errno.into(),
        }
    }
}
