//! A gate in front of a program's system calls: open while the program starts, and closed before it
//! serves somebody who is not trusted. Then it can no longer open a file or a socket, start a
//! program, or change anything outside of itself but through what it has open. With
//! [`Reach::Network`] it can still use sockets, and read the addresses of resolvers.
//!
//! The program installs the filter of [`filter`] just before it is executed, and sends this process
//! the filter's listener. A system call that the filter does not pass waits until a thread of this
//! process has answered: "go on" while the gate is open. A filter that the program installs by
//! itself would have to be part of the program. So it is in the process of our own VMM, which does
//! that where there is no gate ([`close_alone`]).

mod alone;
mod filter;
mod listener;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::Command,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::{Builder, JoinHandle},
};

use libc::c_long;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::getpid,
    thread::set_no_new_privs,
};
use syscalls::Sysno;

pub(crate) use alone::{close_alone, was_ended_at_a_filter};
use filter::{Filter, REFUSED, UNKNOWN};
use listener::{Call, Listener};

use super::rights::{OF_A_START, keep_capabilities};

/// How often the thread looks whether the gate is still needed. The kernel tells it, too.
const INTERVAL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// How many threads a program may have: QEMU has 64 for its disks, and few others. Without a bound
/// they would use up what the system has for all programs.
const MOST_THREADS: usize = 256;

/// Where the resolver of the C library, and of QEMU's network, finds the addresses of its servers.
const RESOLVERS: &str = "/etc/resolv.conf";

/// What a program reaches when its gate is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    /// What it has open.
    #[default]
    Nothing,
    /// New sockets of IPv4, too.
    Network,
}

/// Returns whether a program that this thread starts can be put behind a gate.
pub(crate) fn has_gates() -> bool {
    // It has the filters of this one, and one more until it ends.
    let tried = Builder::new()
        .spawn(|| set_no_new_privs(true).is_ok() && Listener::install(&filter::PASSES_ALL).is_ok());
    tried.is_ok_and(|tried| tried.join().unwrap_or(false))
}

/// A gate, and the thread that answers at it. When dropped, the program must have ended, or its
/// waiting system calls fail.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    reach: Reach,
    installed: AtomicBool,
    closed: AtomicBool,
    dropped: AtomicBool,
    forbidden: OnceLock<String>,
}

impl Gate {
    /// Makes an open gate for the program that the command starts. What the command is told to do
    /// before the program later than this is done behind the gate.
    pub(crate) fn new(command: &mut Command, reach: Reach) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut filter = Filter::new();
        let in_child = move || {
            set_no_new_privs(true)?;
            keep_capabilities(OF_A_START)?;
            // Without a gate the program runs all the same: not every kernel has listeners, and
            // where there is one already, as in some containers, there is no second.
            let own_id = getpid().as_raw_pid().cast_unsigned();
            if let Ok(listener) = Listener::install(filter.of(own_id)) {
                listener.send(theirs.as_fd())?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec only async-signal-safe functions may be called: the closure
        // makes only system calls and allocates nothing.
        unsafe { command.pre_exec(in_child) };
        let state = Arc::new(State {
            reach,
            ..State::default()
        });
        let of_thread = Arc::clone(&state);
        let thread = Builder::new()
            .name("gate".into())
            .spawn(move || of_thread.serve(&ours))?;
        Ok(Self {
            state,
            thread: Some(thread),
        })
    }

    /// Closes the gate for ever. What was asked before this is still done.
    pub(crate) fn close(&self) {
        self.state.closed.store(true, Ordering::SeqCst);
    }

    /// Returns whether the program, which was started, is behind the gate.
    pub(crate) fn is_installed(&self) -> bool {
        self.state.installed.load(Ordering::SeqCst)
    }

    /// Returns the name of the system call for which the program was ended.
    pub(crate) fn forbidden(&self) -> Option<&str> {
        self.state.forbidden.get().map(String::as_str)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.state.dropped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic has been printed, and the program has no gate's answers any more.
            let _ = thread.join();
        }
    }
}

/// An answer to a system call that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Continue,
    /// The argument of this number is the path of a file to open, which may be [`RESOLVERS`].
    /// Others fail.
    OpenResolvers(usize),
    /// It passes if it is a signal of the process to itself.
    Signal,
    /// It passes if the process has fewer than [`MOST_THREADS`].
    Thread,
    Fail(Errno),
    End,
}

impl State {
    fn serve(&self, socket: &UnixStream) {
        if !self.wait(socket.as_fd()) {
            return;
        }
        let Some(listener) = Listener::receive(socket.as_fd()) else {
            return;
        };
        self.installed.store(true, Ordering::SeqCst);
        while self.wait(listener.as_fd()) {
            if let Some(call) = listener.next() {
                self.answer(call);
            }
        }
    }

    fn answer(&self, call: Call<'_>) {
        let closed = self.closed.load(Ordering::SeqCst).then_some(self.reach);
        match answer(call.number(), call.argument(0), closed) {
            Answer::Continue => call.go_on(),
            Answer::Signal if call.signals_itself() => call.go_on(),
            Answer::Thread if call.threads() < MOST_THREADS => call.go_on(),
            Answer::Thread => call.fail(Errno::AGAIN),
            // It is opened here: what the path says may change.
            Answer::OpenResolvers(path) if call.points_to(path, RESOLVERS) => {
                match File::open(RESOLVERS) {
                    Ok(file) => call.return_file(&file),
                    Err(_) => call.fail(Errno::NOENT),
                }
            }
            Answer::OpenResolvers(_) => call.fail(Errno::PERM),
            Answer::Fail(error) => call.fail(error),
            Answer::Signal | Answer::End => {
                self.forbidden.get_or_init(|| name(call.number()));
                call.kill();
            }
        }
    }

    /// Waits until something can be read; returns whether it can, and the gate is still needed.
    fn wait(&self, from: BorrowedFd<'_>) -> bool {
        while !self.dropped.load(Ordering::SeqCst) {
            let mut event = [PollFd::new(&from, PollFlags::IN)];
            let polled = poll(&mut event, Some(&INTERVAL));
            let events = event[0].revents();
            if polled.is_ok() && events.contains(PollFlags::IN) {
                return true;
            }
            // The last process behind the filter has ended.
            if polled.is_ok() && !events.is_empty() {
                return false;
            }
        }
        false
    }
}

/// Decides about a system call that the filter does not pass, by its number and its first argument.
fn answer(number: c_long, first: u64, closed: Option<Reach>) -> Answer {
    match (number, closed) {
        (number, _) if UNKNOWN.contains(&number) => Answer::Fail(Errno::NOSYS),
        (_, None) => Answer::Continue,
        (libc::SYS_clone, _) if first & libc::CLONE_THREAD as u64 != 0 => Answer::Thread,
        // Sockets of other kinds lead to programs of this host, which do what they are asked.
        (libc::SYS_socket, Some(Reach::Network)) if first != libc::AF_INET as u64 => {
            Answer::Fail(Errno::AFNOSUPPORT)
        }
        // The filter passes those of the program that it was installed for; this may be another one
        // that it started, such as QEMU behind a script.
        (libc::SYS_kill | libc::SYS_tgkill | libc::SYS_tkill, _) => Answer::Signal,
        (
            libc::SYS_socket
            | libc::SYS_connect
            | libc::SYS_bind
            | libc::SYS_listen
            | libc::SYS_stat
            | libc::SYS_newfstatat,
            Some(Reach::Network),
        ) => Answer::Continue,
        (libc::SYS_open, Some(Reach::Network)) => Answer::OpenResolvers(0),
        (libc::SYS_openat, Some(Reach::Network)) => Answer::OpenResolvers(1),
        (number, _) if REFUSED.contains(&number) => Answer::Fail(Errno::PERM),
        _ => Answer::End,
    }
}

fn name(number: c_long) -> String {
    let known = usize::try_from(number).ok().and_then(Sysno::new);
    known.map_or_else(|| number.to_string(), |call| call.name().to_owned())
}
