//! What a process does by itself where it has no gate: it installs the same rules, which the kernel
//! enforces without asking. Nobody learns which system call it was that ended the process. Two
//! differences: `tkill` ends it too, while a gate lets it signal its own threads; and nobody counts
//! its threads.

use std::{io, os::unix::process::ExitStatusExt, process::ExitStatus};

use libc::c_long;
use rustix::process::getpid;
use seccompiler::{BpfProgram, Error, SeccompAction, SeccompFilter, TargetArch};

use super::filter::{REFUSED, UNKNOWN, complete, rules};

/// Leaves all threads of this process what they need to compute and to use what is open, for ever.
///
/// # Errors
///
/// The kernel has no filters of system calls, or a thread has one that the others have not.
pub(crate) fn close_alone() -> io::Result<()> {
    install().map_err(io::Error::other)
}

fn install() -> Result<(), Error> {
    // Of several filters the strictest answer counts, so each passes what another one answers.
    for (calls, error) in [(UNKNOWN, libc::ENOSYS), (REFUSED, libc::EPERM)] {
        let rules = calls.iter().map(|number| (*number, Vec::new()));
        apply(SeccompFilter::new(
            rules.collect(),
            SeccompAction::Allow,
            SeccompAction::Errno(error.cast_unsigned()),
            TargetArch::x86_64,
        )?)?;
    }
    let mut passes = rules()?;
    let answered = UNKNOWN.iter().chain(REFUSED);
    passes.extend(answered.map(|number: &c_long| (*number, Vec::new())));
    apply(SeccompFilter::new(
        passes,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::x86_64,
    )?)
}

fn apply(filter: SeccompFilter) -> Result<(), Error> {
    let mut program = BpfProgram::try_from(filter)?;
    complete(&mut program, getpid().as_raw_pid().cast_unsigned());
    seccompiler::apply_filter_all_threads(&program)
}

/// Whether the kernel ended a process for a system call that its filters do not pass. A gate is not
/// asked where the call is of another architecture: each filter ends those, such as `int 0x80`.
pub(crate) fn was_ended_at_a_filter(status: ExitStatus) -> bool {
    status.signal() == Some(libc::SIGSYS)
}
