//! A child process that does not outlive its [`Child`].

use super::Scope;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, getppid, kill_process, kill_process_group,
    set_parent_process_death_signal, waitid,
};
use std::{
    io,
    os::unix::process::CommandExt,
    process::{self, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
};

/// A child that was started. When dropped, it is killed and reaped, with all that its scope holds.
///
/// It is reaped at the very end only. Until then its id and its group's cannot be anyone else's, so
/// that it is safe to signal them.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    pid: Pid,
    scope: Scope,
    reaped: bool,
}

impl Child {
    /// Starts the program, with an empty standard input.
    pub(crate) fn spawn(command: &mut Command, scope: Scope) -> io::Result<Self> {
        command.stdin(Stdio::null());
        if scope == Scope::Group {
            command.process_group(0);
        }
        let process = command.spawn()?;
        Ok(Self {
            pid: Pid::from_child(&process),
            process,
            scope,
            reaped: false,
        })
    }

    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.process.stdout.take()
    }

    pub(crate) fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.process.stderr.take()
    }

    /// Whether the child itself has ended.
    pub(crate) fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(self.pid), options) {
                Ok(status) => return Ok(status.is_some()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends a signal to all that the scope holds.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.reaped {
            return;
        }
        // A refusal means that nobody is left, or (under sudo) that it is not ours to signal.
        let _ = match self.scope {
            Scope::Group => kill_process_group(self.pid, signal),
            Scope::Child => kill_process(self.pid, signal),
        };
    }

    /// Kills what is left of a child that has ended, and gives its status.
    pub(crate) fn reap(&mut self) -> io::Result<ExitStatus> {
        if self.scope == Scope::Group {
            self.signal(Signal::KILL);
        }
        let status = self.process.wait()?;
        self.reaped = true;
        Ok(status)
    }

    /// Kills the child and all that its scope holds, and reaps it.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        // A program under sudo cannot be killed by whoever is not root, and is not waited for.
        if self.scope == Scope::Group || self.has_ended().unwrap_or(false) {
            // The one failure is that it has been reaped.
            let _ = self.process.wait();
            self.reaped = true;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
        }
    }
}

/// Lets the kernel kill the child when the thread that starts it ends, however that ends. The thread
/// must therefore wait for the child.
pub(crate) fn die_with_this_thread(command: &mut Command) {
    let parent = getpid();
    let in_child = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // If the parent died before that, the signal never comes.
        if getppid() != Some(parent) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    };
    // SAFETY: between fork and exec only what is safe in a signal handler may be done. The closure
    // makes two system calls and allocates nothing.
    unsafe { command.pre_exec(in_child) };
}
