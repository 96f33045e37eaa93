//! What is wrong before a guest runs or around it, in sentences.

use std::{io, path::PathBuf};

use super::{Vmm, image::ImageError};

/// Why a guest could not be run at all. What came of a guest that ran is an
/// [`Outcome`](super::Outcome).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The file is no guest for this VMM, or none that fits into its memory.
    #[error("{}: {problem}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: ImageError,
    },
    /// The memory asked for is outside what every VMM here can give.
    #[error(
        "a guest cannot have {asked} MiB of memory: pass --memory with {} to {}",
        super::image::MIN_MEMORY_MIB,
        super::image::MAX_MEMORY_MIB
    )]
    Memory {
        /// What was asked for, in MiB.
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
    /// Time was to be counted in instructions by a VMM that cannot.
    #[error(
        "{vmm} cannot count time in instructions: only QEMU's translator can, so pass --vmm \
         qemu-tcg"
    )]
    CannotCountInstructions {
        /// The VMM.
        vmm: Vmm,
    },
    /// Instructions were to be stepped through by a VMM that does not do it.
    #[error("{vmm} cannot step through a guest: only our own VMM does, so pass --vmm kvm")]
    CannotStep {
        /// The VMM.
        vmm: Vmm,
    },
    /// There is no `/dev/kvm`.
    #[error(
        "there is no /dev/kvm: enable virtualisation in the firmware (on a virtual machine: nested \
         virtualisation), load the module kvm_intel or kvm_amd, or pass --vmm qemu-tcg, which needs \
         none of it"
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
    /// `/dev/kvm` speaks another version of the interface.
    #[error(
        "/dev/kvm speaks version {found} of its interface and this program version 12, the only \
         one since Linux 2.6.22: pass --vmm qemu-tcg"
    )]
    KvmVersion {
        /// The version found.
        found: i32,
    },
    /// This KVM lacks something that our VMM cannot do without.
    #[error("this KVM lacks {0}, which our VMM needs: use a newer kernel, or pass --vmm qemu-tcg")]
    KvmLacks(&'static str),
    /// A step of creating the virtual machine failed.
    #[error("KVM failed to {step} ({cause}): try again, or pass --vmm qemu-tcg")]
    KvmStep {
        /// The step, as a verb and its object.
        step: &'static str,
        /// What the kernel answered.
        cause: io::Error,
    },
    /// The guest's memory could not be made or filled.
    #[error("the guest's memory could not be {step} ({cause}): try a smaller --memory")]
    GuestMemory {
        /// The step, as a participle.
        step: &'static str,
        /// What the library or the kernel said.
        cause: String,
    },
    /// The guest's image could not be read into its memory, although its headers are in order.
    #[error("the guest's image could not be loaded ({0}): build or copy it again")]
    NotLoaded(String),
    /// A thread or a file descriptor of this process could not be had.
    #[error(
        "{what} could not be had ({cause}): end other programs, or raise the limits (`ulimit -a`)"
    )]
    Resource {
        /// What.
        what: &'static str,
        /// What the kernel answered.
        cause: io::Error,
    },
    /// QEMU is not installed, or not where it was said to be.
    #[error(
        "there is no {program}: install QEMU (on Debian: apt-get install --no-install-recommends \
         qemu-system-x86), or name another one in DORMIR_QEMU"
    )]
    QemuMissing {
        /// The program that was looked for.
        program: String,
    },
    /// QEMU could not be started, for another reason.
    #[error(
        "{program} could not be started ({cause}): see whether `{program} --version` works, or name \
         another one in DORMIR_QEMU"
    )]
    QemuStart {
        /// The program.
        program: String,
        /// What the kernel answered.
        cause: io::Error,
    },
    /// What was started does not behave like QEMU.
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
    /// No Hyperlight sandbox ran the guest, or none to its end.
    #[error("Hyperlight could not run the guest: {message}")]
    Hyperlight {
        /// What the runner said.
        message: String,
    },
    /// The program that runs Hyperlight guests could not be started.
    #[error("`{}` could not be started ({cause}): build it again", program.display())]
    RunnerStart {
        /// The program.
        program: PathBuf,
        /// What the kernel answered.
        cause: io::Error,
    },
    /// QEMU refused its command line or could not set the machine up.
    #[error(
        "QEMU ended before it ran the guest ({message}): see whether its message explains it, or pass \
         another --vmm"
    )]
    QemuRefused {
        /// How it ended, and what it wrote to standard error.
        message: String,
    },
}

impl RunError {
    /// For `map_err` on a call to KVM.
    pub(super) fn kvm(step: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Self {
        move |errno| Self::KvmStep {
            step,
            cause: errno.into(),
        }
    }
}
