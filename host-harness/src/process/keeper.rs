//! A keeper: a process between this one and a program, which leaves nothing of the program behind.
//!
//! The keeper is forked before the program and starts it. Whatever the program starts stays below the keeper,
//! also what is orphaned or leaves its session, for the keeper is its reaper. It ends all of that when the program
//! has ended, and when this process lets go of the [`Lifeline`]: by closing it, or by its own death, however that
//! comes. Then it ends as the program did.
//!
//! The keeper is a copy of this process that may have been in the midst of anything, so it makes system calls and
//! allocates nothing.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, Mode, OFlags, openat},
    io::{Errno, read},
    process::{
        Pid, PidfdFlags, Resource, Rlimit, Signal, WaitOptions, WaitStatus, getpid, getppid,
        kill_current_process_group, kill_process, pidfd_open, set_child_subreaper,
        set_parent_process_death_signal, setrlimit, wait,
    },
    stdio::{dup2_stdin, stdin},
};
use std::{
    io::{self, PipeReader, PipeWriter},
    mem::MaybeUninit,
    os::unix::process::CommandExt,
    process::Command,
    ptr,
};

/// How often the keeper buries orphans that have ended.
const LOOK_EVERY: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// While this is open, the program may live.
#[derive(Debug)]
pub(super) struct Lifeline {
    _open: PipeWriter,
}

/// Lets a keeper start the command, which must lead a process group.
pub(super) fn keep(command: &mut Command) -> io::Result<Lifeline> {
    let (watched, open) = io::pipe()?;
    let in_child = move || {
        let keeper = getpid();
        // What is sent to the group is for the program.
        mask_signals(true);
        set_child_subreaper(Some(keeper))?;
        // SAFETY: this process was forked itself and has one thread.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                mask_signals(false);
                // If the keeper is killed, so is the program. If it was already, the signal never comes.
                set_parent_process_death_signal(Some(Signal::KILL))?;
                if getppid() == Some(keeper) {
                    Ok(())
                } else {
                    Err(io::ErrorKind::BrokenPipe.into())
                }
            }
            program => be_keeper(Pid::from_raw(program).unwrap_or(keeper), &watched),
        }
    };
    // SAFETY: between fork and exec only what is safe in a signal handler may be done: the closure, which the
    // keeper never leaves, makes system calls and allocates nothing.
    unsafe { command.pre_exec(in_child) };
    Ok(Lifeline { _open: open })
}

/// What the keeper does.
fn be_keeper(program: Pid, watched: &PipeReader) -> ! {
    // It holds nothing open that others wait for the end of.
    let lifeline = dup2_stdin(watched);
    close_all_but_stdin();
    let ended = match (lifeline, pidfd_open(program, PidfdFlags::empty())) {
        (Ok(()), Ok(running)) => {
            let stdin = stdin();
            let mut events = [
                PollFd::new(&stdin, PollFlags::IN),
                PollFd::new(&running, PollFlags::IN),
            ];
            loop {
                let polled = poll(&mut events, Some(&LOOK_EVERY));
                if !events[0].revents().is_empty() && polled.is_ok() {
                    break None;
                }
                if let Some(status) = bury(program, WaitOptions::NOHANG) {
                    break Some(status);
                }
            }
        }
        // Without the means to watch it, it must not run.
        _ => None,
    };
    let status = end_all(program, ended);
    match status {
        Some(status) => end_like(status),
        None => {
            // This process too.
            let _ = kill_current_process_group(Signal::KILL);
            exit(1)
        }
    }
}

/// Ends whatever is below this process, and returns how the program ended, unless it was ended here.
fn end_all(program: Pid, ended: Option<WaitStatus>) -> Option<WaitStatus> {
    if ended.is_none() {
        let _ = kill_process(program, Signal::KILL);
    }
    loop {
        let mut children = [0; 4096];
        let length = children_of_this(&mut children);
        let mut killed = 0;
        // Behind each number is a blank; what has none is cut off.
        for number in children[..length].split_inclusive(|byte| *byte == b' ') {
            let pid = number.strip_suffix(b" ").and_then(number_of);
            let ended = pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok());
            killed += usize::from(ended);
        }
        // Those that are left, if any, belong to somebody else.
        if killed == 0 {
            return ended;
        }
        bury(program, WaitOptions::empty());
    }
}

/// Takes the status of at least one child that has ended, or with [`WaitOptions::NOHANG`] of all that have;
/// returns that of the program.
fn bury(program: Pid, mut options: WaitOptions) -> Option<WaitStatus> {
    loop {
        match wait(options) {
            Ok(Some((child, status))) if child == program => return Some(status),
            Ok(Some(_)) => options |= WaitOptions::NOHANG,
            Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Reads which children this process has: numbers, with a blank behind each. Returns how many bytes that takes.
fn children_of_this(buffer: &mut [u8]) -> usize {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(CWD, c"/proc/thread-self/children", flags, Mode::empty());
    file.and_then(|file| read(file, buffer)).unwrap_or(0)
}

fn number_of(digits: &[u8]) -> Option<Pid> {
    let digits = str::from_utf8(digits).ok()?;
    Pid::from_raw(digits.parse().ok()?)
}

/// Ends this process as another one ended.
fn end_like(status: WaitStatus) -> ! {
    if let Some(signal) = status.terminating_signal() {
        // The program's memory is dumped, if anybody's.
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        let _ = setrlimit(Resource::Core, none);
        // SAFETY: the default action is nobody's code.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        mask_signals(false);
        // SAFETY: it ends this process, or does nothing.
        unsafe { libc::raise(signal) };
        exit(128 + signal)
    }
    exit(status.exit_status().unwrap_or(1))
}

/// Ends this process, and nothing of what its original has set up for its end.
fn exit(status: i32) -> ! {
    // SAFETY: it has no conditions.
    unsafe { libc::_exit(status) }
}

fn close_all_but_stdin() {
    // SAFETY: whoever owned them is code that this copy does not run any more.
    unsafe { libc::syscall(libc::SYS_close_range, 1_u32, u32::MAX, 0_u32) };
}

/// Masks all signals, or none.
fn mask_signals(all: bool) {
    let fill = if all {
        libc::sigfillset
    } else {
        libc::sigemptyset
    };
    let mut set = MaybeUninit::uninit();
    // SAFETY: it writes a whole set.
    unsafe { fill(set.as_mut_ptr()) };
    // SAFETY: the set is written; the old one is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), ptr::null_mut()) };
}
