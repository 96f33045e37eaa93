//! A child process that does not outlive its [`Child`], nor this process.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{self, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

use crate::vmm::RunError;

/// How often a process that is about to end is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// A running QEMU; killed and reaped when dropped.
pub(super) struct Child {
    process: process::Child,
}

impl Child {
    /// Starts the program, without an input and in a process group of its own, so that a Ctrl-C in
    /// the terminal reaches this process alone, which then ends the child.
    ///
    /// The calling thread must wait for the child: the kernel kills it when that thread ends.
    pub(super) fn spawn(mut command: Command) -> Result<Self, RunError> {
        command.stdin(Stdio::null()).process_group(0);
        let parent = getpid();
        let in_child = move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // If the parent died before that, the signal never comes.
            if getppid() != Some(parent) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Ok(())
        };
        // SAFETY: between fork and exec only what is safe in a signal handler may be done. The
        // closure makes two system calls and allocates nothing.
        unsafe { command.pre_exec(in_child) };
        match command.spawn() {
            Ok(process) => Ok(Self { process }),
            Err(cause) => {
                let program = command.get_program().to_string_lossy().into_owned();
                Err(match cause.kind() {
                    io::ErrorKind::NotFound => RunError::QemuMissing { program },
                    _ => RunError::QemuStart { program, cause },
                })
            }
        }
    }

    pub(super) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.process.stdout.take()
    }

    pub(super) fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.process.stderr.take()
    }

    /// Waits for a process that should end soon, at most until the deadline.
    pub(super) fn wait_until(&mut self, deadline: Option<Instant>) -> Option<ExitStatus> {
        loop {
            // An error means that it is not ours to wait for, which cannot be.
            if let Ok(Some(status)) = self.process.try_wait() {
                return Some(status);
            }
            if deadline.is_some_and(|at| Instant::now() >= at) {
                return None;
            }
            sleep(POLL_INTERVAL);
        }
    }

    /// Kills the process, if it still runs, and reaps it.
    pub(super) fn kill(&mut self) {
        // The one failure is that it has been reaped.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}
