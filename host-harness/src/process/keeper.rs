//! A keeper: a process between this one and a program, which leaves no process of the program
//! behind.
//!
//! The keeper is forked before the program and starts it. It is the subreaper of all processes that
//! the program starts, so they stay its descendants even if they are orphaned or leave their
//! session. It ends all of them when the program has ended, when this process closes the
//! [`Lifeline`], or when it dies in whatever way. Then the keeper ends with the program's status.
//!
//! The keeper is a fork of this process, whose other threads may have held any lock, so it only
//! makes system calls and allocates nothing.

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

/// How often the keeper reaps orphans that have ended.
const REAP_INTERVAL: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// The program may run as long as this is open.
#[derive(Debug)]
pub(super) struct Lifeline {
    _open: PipeWriter,
}

/// Makes a keeper start the command, which must lead a process group.
pub(super) fn keep(command: &mut Command) -> io::Result<Lifeline> {
    let (watched, open) = io::pipe()?;
    let starter = getpid();
    let in_child = move || {
        let keeper = getpid();
        // Signals to the group are for the program.
        mask_signals(true);
        set_child_subreaper(Some(keeper))?;
        // SAFETY: this process is a fork itself and has one thread.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                mask_signals(false);
                // If the keeper is killed, so is the program. If the keeper is dead already, that
                // signal never comes.
                set_parent_process_death_signal(Some(Signal::KILL))?;
                if getppid() == Some(keeper) {
                    Ok(())
                } else {
                    Err(io::ErrorKind::BrokenPipe.into())
                }
            }
            program => be_keeper(Pid::from_raw(program).unwrap_or(keeper), &watched, starter),
        }
    };
    // SAFETY: between fork and exec only async-signal-safe functions may be called: the closure,
    // which the keeper never leaves, makes only system calls and allocates nothing.
    unsafe { command.pre_exec(in_child) };
    Ok(Lifeline { _open: open })
}

/// Runs the keeper.
fn be_keeper(program: Pid, watched: &PipeReader, starter: Pid) -> ! {
    // Closes all files, since others may wait for their end.
    let lifeline = dup2_stdin(watched);
    close_all_but_stdin();
    let of = |process| pidfd_open(process, PidfdFlags::empty());
    // The lifeline is not enough: what is just being started has a copy of it, and may wait for an
    // answer of the starter.
    let starter = of(starter).ok().filter(|_| getppid() == Some(starter));
    let ended = match (lifeline, of(program), starter) {
        (Ok(()), Ok(running), Some(starter)) => {
            let stdin = stdin();
            let mut events = [
                PollFd::new(&stdin, PollFlags::IN),
                PollFd::new(&starter, PollFlags::IN),
                PollFd::new(&running, PollFlags::IN),
            ];
            loop {
                let polled = poll(&mut events, Some(&REAP_INTERVAL));
                let mut over = events[..2].iter().map(PollFd::revents);
                if over.any(|events| !events.is_empty()) && polled.is_ok() {
                    break None;
                }
                if let Some(status) = reap(program, WaitOptions::NOHANG) {
                    break Some(status);
                }
            }
        }
        // A program that cannot be watched must not run.
        _ => None,
    };
    let status = end_all(program, ended);
    match status {
        Some(status) => end_like(status),
        None => {
            // This includes this process.
            let _ = kill_current_process_group(Signal::KILL);
            exit(1)
        }
    }
}

/// Ends all descendants of this process; returns how the program ended, unless it was ended here.
fn end_all(program: Pid, ended: Option<WaitStatus>) -> Option<WaitStatus> {
    if ended.is_none() {
        let _ = kill_process(program, Signal::KILL);
    }
    loop {
        let mut children = [0; 4096];
        let length = children_of_this(&mut children);
        let mut killed = 0;
        // A space follows each number; one without is cut off.
        for number in children[..length].split_inclusive(|byte| *byte == b' ') {
            let pid = number.strip_suffix(b" ").and_then(number_of);
            let ended = pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok());
            killed += usize::from(ended);
        }
        // Any that are left belong to another user.
        if killed == 0 {
            return ended;
        }
        reap(program, WaitOptions::empty());
    }
}

/// Reaps at least one child, or with [`WaitOptions::NOHANG`] all that have ended; returns the
/// program's status if it is among them.
fn reap(program: Pid, mut options: WaitOptions) -> Option<WaitStatus> {
    loop {
        match wait(options) {
            Ok(Some((child, status))) if child == program => return Some(status),
            Ok(Some(_)) => options |= WaitOptions::NOHANG,
            Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Reads the IDs of this process's children, each followed by a space. Returns the number of bytes.
fn children_of_this(buffer: &mut [u8]) -> usize {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(CWD, c"/proc/thread-self/children", flags, Mode::empty());
    file.and_then(|file| read(file, buffer)).unwrap_or(0)
}

fn number_of(digits: &[u8]) -> Option<Pid> {
    let digits = str::from_utf8(digits).ok()?;
    Pid::from_raw(digits.parse().ok()?)
}

/// Ends this process with another process's status.
fn end_like(status: WaitStatus) -> ! {
    if let Some(signal) = status.terminating_signal() {
        // The program has written a core dump if there is to be one.
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        let _ = setrlimit(Resource::Core, none);
        // SAFETY: the default action runs no code of this process.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        mask_signals(false);
        // SAFETY: it ends this process, or does nothing.
        unsafe { libc::raise(signal) };
        exit(128 + signal)
    }
    exit(status.exit_status().unwrap_or(1))
}

/// Ends this process without running the exit handlers of the original process.
fn exit(status: i32) -> ! {
    // SAFETY: it has no conditions.
    unsafe { libc::_exit(status) }
}

fn close_all_but_stdin() {
    // SAFETY: their owners are code that this fork never runs again.
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
    // SAFETY: the set is initialised; the old one is not requested.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        io::{BufRead, BufReader, Read},
        process::{Command, Stdio},
    };

    use rustix::process::{Pid, Signal, kill_process};

    use crate::process::{Child, Scope};

    /// Set in the process that is killed.
    const ALONE: &str = "DORMIR_TEST_STARTER";

    /// As what is just being started has one.
    #[test]
    fn a_program_ends_with_its_starter_though_another_process_has_the_lifeline() {
        if env::var_os(ALONE).is_some() {
            return be_killed();
        }
        let name = "process::keeper::tests::\
                    a_program_ends_with_its_starter_though_another_process_has_the_lifeline";
        let mut starter = Command::new(env::current_exe().expect("this program has a path"))
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "")
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut output = BufReader::new(starter.stdout.take().expect("a pipe"));
        let mut line = String::new();
        let other = loop {
            line.clear();
            assert!(
                output.read_line(&mut line).expect("a pipe") > 0,
                "it says nothing"
            );
            if let Some(id) = line.strip_prefix("other ") {
                break Pid::from_raw(id.trim().parse().expect("a number")).expect("an ID");
            }
        };
        starter.kill().expect("it runs");
        starter.wait().expect("it was killed");
        // The program holds the pipe; the other process has closed it.
        let mut rest = Vec::new();
        output.read_to_end(&mut rest).expect("the pipe closes");
        kill_process(other, Signal::KILL).expect("it runs");
    }

    fn be_killed() {
        let mut command = Command::new("sleep");
        let _child = Child::spawn(command.arg("1000"), Scope::Group).expect("it starts");
        // SAFETY: the new process makes only system calls.
        let other = unsafe { libc::fork() };
        if other == 0 {
            // SAFETY: nothing in this process uses it any more.
            unsafe { libc::close(1) };
            loop {
                // SAFETY: it has no conditions.
                unsafe { libc::pause() };
            }
        }
        println!("other {other}");
        std::thread::sleep(std::time::Duration::from_secs(100));
    }
}
