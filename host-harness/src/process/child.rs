//! A child process that does not outlive its [`Child`] value.

use super::{
    Scope,
    gate::{Gate, Reach},
    keeper::{self, Lifeline},
};
use rustix::{
    io::{FdFlags, dup, dup2, fcntl_setfd},
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid},
    stdio::{dup2_stdout, stdout},
};
use std::{
    ffi::OsStr,
    fs::File,
    io,
    mem::ManuallyDrop,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::{self, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a keeper may take to end everything before its group is killed.
const KEEPER_LIMIT: Duration = Duration::from_secs(10);

/// How often it is checked meanwhile.
const CHECK_INTERVAL: Duration = Duration::from_millis(2);

/// A running child. When dropped, it is killed and reaped, with all processes in its scope. With
/// [`Scope::Group`] the child is the program's keeper, which ends when no process of the program is
/// left, with the program's status.
///
/// It is reaped only at the very end. Until then its ID and its group's cannot be reused, so that
/// it is safe to signal them.
#[derive(Debug)]
pub struct Child {
    process: process::Child,
    pid: Pid,
    scope: Scope,
    /// Closing it makes the keeper end the program.
    lifeline: Option<Lifeline>,
    reaped: bool,
}

impl Child {
    /// Starts the program, with an empty standard input.
    pub(crate) fn spawn(command: &mut Command, scope: Scope) -> io::Result<Self> {
        Self::spawn_with(command, Stdio::null(), scope)
    }

    /// Starts the program, with this standard input.
    ///
    /// # Errors
    ///
    /// The program cannot be started.
    pub fn spawn_with(command: &mut Command, stdin: Stdio, scope: Scope) -> io::Result<Self> {
        let lifeline = match scope {
            Scope::Group => Some(keeper::keep(command.process_group(0))?),
            Scope::Child => None,
        };
        Self::start(command.stdin(stdin), scope, lifeline)
    }

    /// Starts the program, with this standard input, behind a gate that is open.
    pub(crate) fn spawn_gated(
        command: &mut Command,
        stdin: Stdio,
        reach: Reach,
    ) -> io::Result<(Self, Gate)> {
        let lifeline = keeper::keep(command.process_group(0))?;
        // After the keeper, which is on this side of it.
        let gate = Gate::new(command, reach)?;
        let child = Self::start(command.stdin(stdin), Scope::Group, Some(lifeline))?;
        Ok((child, gate))
    }

    fn start(command: &mut Command, scope: Scope, lifeline: Option<Lifeline>) -> io::Result<Self> {
        let process = command.spawn()?;
        Ok(Self {
            pid: Pid::from_child(&process),
            process,
            scope,
            lifeline,
            reaped: false,
        })
    }

    /// The other end of its standard input, if that is a pipe; once.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.process.stdin.take()
    }

    /// The other end of its standard output, if that is a pipe; once.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.process.stdout.take()
    }

    /// The other end of its standard error, if that is a pipe; once.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.process.stderr.take()
    }

    /// Returns whether the child has ended.
    pub(crate) fn has_ended(&self) -> io::Result<bool> {
        if self.reaped {
            return Ok(true);
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(self.pid), options) {
                Ok(status) => return Ok(status.is_some()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends a signal to all processes in the scope.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.reaped {
            return;
        }
        // An error means that no process is left, or (under sudo) that we may not signal it.
        let _ = match self.scope {
            Scope::Group => kill_process_group(self.pid, signal),
            Scope::Child => kill_process(self.pid, signal),
        };
    }

    /// Kills what is left of a child that has ended, and returns its status.
    pub(crate) fn reap(&mut self) -> io::Result<ExitStatus> {
        if self.scope == Scope::Group {
            self.signal(Signal::KILL);
        }
        let status = self.process.wait()?;
        self.reaped = true;
        Ok(status)
    }

    /// Kills the child and all processes in its scope, and reaps it.
    pub fn kill(&mut self) {
        match self.scope {
            Scope::Group => {
                self.lifeline = None;
                let asked = Instant::now();
                while asked.elapsed() < KEEPER_LIMIT && !self.has_ended().unwrap_or(true) {
                    thread::sleep(CHECK_INTERVAL);
                }
                self.signal(Signal::KILL);
            }
            Scope::Child => {
                self.signal(Signal::KILL);
                // Only root can kill a program under sudo, so this does not wait for it.
                if !self.has_ended().unwrap_or(false) {
                    return;
                }
            }
        }
        // This fails only if it has been reaped.
        let _ = self.process.wait();
        self.reaped = true;
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
        }
    }
}

/// Makes a command whose program gets no file descriptors but its standard ones, and those that it
/// is [passed](pass).
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let in_child = || {
        // SAFETY: that they are closed at exec harms nobody in this process, which it replaces. If
        // it fails (before Linux 5.11), the program inherits what this process has inherited.
        unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, CLOSE_RANGE_CLOEXEC) };
        Ok(())
    };
    // SAFETY: as in `pass`.
    unsafe { command.pre_exec(in_child) };
    command
}

/// Of linux/close_range.h.
const CLOSE_RANGE_CLOEXEC: u32 = 1 << 2;

/// Passes a file descriptor to the child, under the number that is returned. This process holds it
/// as long as the command exists.
pub(crate) fn pass(command: &mut Command, file: OwnedFd) -> RawFd {
    let number = file.as_raw_fd();
    let in_child = move || Ok(fcntl_setfd(&file, FdFlags::empty())?);
    // SAFETY: between fork and exec only async-signal-safe functions may be called, such as this
    // system call.
    unsafe { command.pre_exec(in_child) };
    number
}

/// Gives the child an empty standard output, and the one that the command has under the number that
/// is returned.
pub(crate) fn move_stdout(command: &mut Command) -> io::Result<RawFd> {
    let empty: OwnedFd = File::options().write(true).open("/dev/null")?.into();
    let number = empty.as_raw_fd();
    let in_child = move || {
        let output = dup(stdout())?;
        dup2_stdout(&empty)?;
        // SAFETY: the number is that of `empty`, whose owner neither uses nor closes it in the
        // child.
        let mut place = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
        Ok(dup2(&output, &mut place)?)
    };
    // SAFETY: as in `pass`.
    unsafe { command.pre_exec(in_child) };
    Ok(number)
}
