//! Child processes with a time limit and a stop token, which leave no descendant behind.

mod child;
mod gate;
mod keeper;
mod rights;

pub use child::Child;
pub(crate) use child::{command, move_stdout, pass};
pub(crate) use gate::{Gate, Reach, close_alone, has_gates, was_ended_at_a_filter};
pub(crate) use rights::{keep_capabilities, limit, limit_files};

use crate::stop::StopToken;
use rustix::{
    fs::{MemfdFlags, memfd_create},
    process::Signal,
};
use std::{
    fs::File,
    io::{self, Read, Seek},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a child that was asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// The longest pause between two checks of a child, the stop token and the clock.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Why a child's exit status is not known.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("`{program}` cannot be started ({source}): check that it is installed and in PATH")]
    Start {
        /// The program.
        program: String,
        /// The reason.
        source: io::Error,
    },
    /// It was still running at its time limit, and was ended.
    #[error(
        "`{program}` was ended after {} s, its time limit: try it by hand to see what it waits for",
        limit.as_secs()
    )]
    TimedOut {
        /// The program.
        program: String,
        /// The limit.
        limit: Duration,
    },
    /// It was ended because of a stop request.
    #[error("stopped from outside before its end")]
    Stopped,
    /// The system could not wait for it or store its output.
    #[error("`{program}` cannot be watched: {source}")]
    Watch {
        /// The program.
        program: String,
        /// The reason.
        source: io::Error,
    },
}

/// Which processes end together with the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The child and all its descendants, even if they are orphaned or have left its session. They
    /// also end if this process dies. The child leads its own process group, so a terminal's Ctrl-C
    /// reaches it only through the stop token.
    Group,
    /// The child alone, in this process's group: for a program that asks the terminal for a
    /// password, which only the foreground group may do.
    Child,
}

/// Runs `command` to its end, for at most `limit` (no limit: [`Duration::MAX`]) and until `stop` is
/// set.
///
/// Its standard input is empty; the caller chooses where its output goes.
pub(crate) fn run(
    command: &mut Command,
    scope: Scope,
    limit: Duration,
    stop: &StopToken,
) -> Result<ExitStatus, ProcessError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let start = Instant::now();
    let mut child = Child::spawn(command, scope).map_err(|source| ProcessError::Start {
        program: program.clone(),
        source,
    })?;
    let watch = |source| ProcessError::Watch {
        program: program.clone(),
        source,
    };
    let mut pause = Duration::from_millis(1);
    loop {
        if child.has_ended().map_err(watch)? {
            return child.reap().map_err(watch);
        }
        let error = if stop.is_stopped() {
            ProcessError::Stopped
        } else if start.elapsed() >= limit {
            ProcessError::TimedOut {
                program: program.clone(),
                limit,
            }
        } else {
            thread::sleep(pause);
            pause = (pause * 2).min(CHECK_INTERVAL);
            continue;
        };
        end(&mut child).map_err(watch)?;
        return Err(error);
    }
}

/// Asks the child to end, and kills what is left of it after a while.
fn end(child: &mut Child) -> io::Result<()> {
    child.signal(Signal::TERM);
    let asked = Instant::now();
    while asked.elapsed() < GRACE && !child.has_ended()? {
        thread::sleep(CHECK_INTERVAL);
    }
    child.kill();
    Ok(())
}

/// What a child printed, and how it ended.
#[derive(Debug)]
pub struct Captured {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub output: String,
}

/// Which of a child's streams are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Standard output; standard error is discarded.
    Stdout,
    /// Standard output; standard error goes to ours.
    StdoutOnly,
    /// Both, in the order in which they were written.
    Both,
}

/// Runs `command` to its end, for at most `limit` and until `stop` is set, with an empty standard
/// input, and captures its output in a file: no pipe can fill up, and a descendant that holds the
/// stream open blocks nothing. The file is in memory, so that no disk needs to be writable.
///
/// # Errors
///
/// It cannot be started or watched, took too long, or was stopped.
pub fn capture(
    command: &mut Command,
    keep: Keep,
    scope: Scope,
    limit: Duration,
    stop: &StopToken,
) -> Result<Captured, ProcessError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let watch = |source| ProcessError::Watch {
        program: program.clone(),
        source,
    };
    let file = memfd_create("output", MemfdFlags::CLOEXEC);
    let mut file = File::from(file.map_err(|errno| watch(errno.into()))?);
    command.stdout(file.try_clone().map_err(watch)?);
    match keep {
        Keep::Stdout => command.stderr(Stdio::null()),
        Keep::StdoutOnly => command.stderr(Stdio::inherit()),
        Keep::Both => command.stderr(file.try_clone().map_err(watch)?),
    };
    let status = run(command, scope, limit, stop)?;
    let output = read_back(&mut file).map_err(watch)?;
    Ok(Captured { status, output })
}

fn read_back(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn both_streams_are_kept_in_order() {
        let captured = capture(
            &mut shell("echo one; echo two >&2; echo three; exit 7"),
            Keep::Both,
            Scope::Group,
            Duration::from_secs(20),
            &StopToken::default(),
        )
        .expect("a shell runs");
        assert_eq!(captured.output, "one\ntwo\nthree\n");
        assert_eq!(captured.status.code(), Some(7));
    }

    #[test]
    fn a_program_inherits_only_what_it_is_passed() {
        let [open, passed] = [(); 2].map(|()| memfd_create("file", MemfdFlags::empty()).unwrap());
        let mut program = command("/bin/sh");
        let number = pass(&mut program, passed);
        let script = format!(
            "[ -e /proc/self/fd/{} ] || echo one; [ -e /proc/self/fd/{number} ] && echo two",
            open.as_raw_fd()
        );
        program.args(["-c", &script]);
        let limit = Duration::from_secs(20);
        let stop = StopToken::default();
        let captured = capture(&mut program, Keep::Both, Scope::Group, limit, &stop);
        assert_eq!(captured.expect("a shell runs").output, "one\ntwo\n");
    }

    #[test]
    fn the_descendants_of_a_child_end_with_it() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let mut command = shell("sleep 1000 & echo done");
        command.stdout(writer);
        let limit = Duration::from_secs(60);
        let status = run(&mut command, Scope::Group, limit, &StopToken::default());
        assert!(status.expect("a shell runs").success());
        drop(command);
        let mut output = String::new();
        reader.read_to_string(&mut output).expect("the pipe closes");
        assert_eq!(output, "done\n");
    }

    /// The end of a group shows on a pipe, which closes once every process that holds it has ended.
    fn ends_with_descendants(limit: Duration, stop: &StopToken) -> ProcessError {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let mut command = shell("(trap '' TERM; while :; do sleep 1; done) & sleep 1000");
        command.stdout(writer);
        let error = run(&mut command, Scope::Group, limit, stop).expect_err("it never ends itself");
        drop(command);
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).expect("the pipe closes");
        error
    }

    #[test]
    fn the_time_limit_ends_descendants_too() {
        let error = ends_with_descendants(Duration::from_millis(100), &StopToken::default());
        assert!(matches!(error, ProcessError::TimedOut { .. }), "{error}");
    }

    #[test]
    fn a_stop_ends_descendants_too() {
        let stop = StopToken::default();
        let remote = stop.clone();
        let stopper = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            remote.stop();
        });
        let error = ends_with_descendants(Duration::from_secs(60), &stop);
        stopper.join().expect("the stopper ends");
        assert!(matches!(error, ProcessError::Stopped), "{error}");
    }

    #[test]
    fn a_status_is_the_programs_own() {
        use std::os::unix::process::ExitStatusExt;
        let run = |script: &str| {
            let limit = Duration::from_secs(60);
            run(
                &mut shell(script),
                Scope::Group,
                limit,
                &StopToken::default(),
            )
            .expect("it runs")
        };
        for code in [0, 1, 33, 127, 255] {
            assert_eq!(run(&format!("exit {code}")).code(), Some(code));
        }
        for signal in [1, 2, 6, 9, 10, 11, 13, 15, 17, 34, 64] {
            assert_eq!(
                run(&format!("kill -{signal} $$; exit 3")).signal(),
                expected(signal)
            );
        }
        /// A signal that is ignored by default lets the script go on.
        fn expected(signal: i32) -> Option<i32> {
            (signal != 17).then_some(signal)
        }
    }

    /// Even if they are orphaned or in a session of their own.
    #[test]
    fn a_process_outside_the_session_ends_too() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let mut command =
            shell("(setsid sleep 1000 &) ; setsid sh -c 'setsid sleep 1000 & exit' & exit 5");
        command.stdout(writer);
        let limit = Duration::from_secs(60);
        let status = run(&mut command, Scope::Group, limit, &StopToken::default());
        assert_eq!(status.expect("a shell runs").code(), Some(5));
        drop(command);
        let mut output = String::new();
        reader.read_to_string(&mut output).expect("the pipe closes");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(
            &mut Command::new("no-such-program-at-all"),
            Scope::Group,
            Duration::from_secs(1),
            &StopToken::default(),
        )
        .expect_err("there is none");
        assert!(error.to_string().contains("no-such-program-at-all"));
    }
}
