//! Runs programs of tests, shows what they print, and counts how their tests ended.

use super::command::note;
use crate::{
    process::{self, ProcessError, Scope},
    stop::StopToken,
};
use std::{
    io::{self, BufRead, BufReader, Write},
    process::{Command, ExitStatus},
    thread,
    time::Duration,
};

/// How the tests of a program ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) ignored: usize,
}

/// What a command's programs of tests printed of their tests, and how it ended.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) status: ExitStatus,
    /// Of each program that came to its end.
    pub(super) programs: Vec<Counts>,
    /// The names of the tests that were run.
    pub(super) ran: Vec<String>,
    /// The names of tests that were not run.
    pub(super) ignored: Vec<String>,
}

impl Counts {
    /// Reads the line with which a program of tests ends.
    pub(super) fn read(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let mut counts = counts.split("; ");
        let mut count = |what: &str| -> Option<usize> {
            let (count, kind) = counts.next()?.split_once(' ')?;
            (kind == what).then_some(())?;
            count.parse().ok()
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
            ignored: count("ignored")?,
        })
    }
}

/// What a command did that may have been ended at its time limit: that is a finding, so there is a
/// reason for the record. Other errors are none.
pub(super) fn within<T>(
    limit: Duration,
    ran: Result<T, ProcessError>,
) -> Result<Result<T, String>, ProcessError> {
    match ran {
        Ok(ran) => Ok(Ok(ran)),
        // Without the program's path, which others do not have.
        Err(ProcessError::TimedOut { .. }) => {
            Ok(Err(format!("it did not end within {} s", limit.as_secs())))
        }
        Err(error) => Err(error),
    }
}

/// Runs tests, and shows their output.
pub(super) fn run(
    command: &mut Command,
    limit: Duration,
    stop: &StopToken,
) -> Result<Counted, ProcessError> {
    let (status, printed) = shown(command, limit, stop, |lines| read(lines))?;
    Ok(Counted { status, ..printed })
}

/// Runs a command, shows the lines of its output, and returns what `read` makes of them.
pub(super) fn shown<T: Default + Send>(
    command: &mut Command,
    limit: Duration,
    stop: &StopToken,
    read: impl FnOnce(&mut dyn Iterator<Item = String>) -> T + Send,
) -> Result<(ExitStatus, T), ProcessError> {
    let (reader, writer) = io::pipe().map_err(|source| ProcessError::Watch {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })?;
    command.stdout(writer);
    let lines = BufReader::new(reader).lines().map_while(Result::ok);
    thread::scope(|scope| {
        let mut lines = lines.inspect(|line| show(line));
        let read = scope.spawn(move || read(&mut lines));
        let status = process::run(command, Scope::Group, limit, stop);
        // The command holds the pipe's other end.
        command.stdout(io::stderr());
        let printed = read.join().unwrap_or_else(|_| {
            note(format_args!("the output cannot be read"));
            T::default()
        });
        Ok((status?, printed))
    })
}

/// Reads the end of each program, and which tests were run and which not.
fn read(lines: impl Iterator<Item = String>) -> Counted {
    let mut counted = Counted::default();
    for line in lines {
        counted.programs.extend(Counts::read(&line));
        let test = line.strip_prefix("test ").unwrap_or_default();
        if let Some((name, end)) = test.split_once(" ... ") {
            let is_ignored = end.starts_with("ignored");
            let names = if is_ignored {
                &mut counted.ignored
            } else {
                &mut counted.ran
            };
            names.push(name.trim_end().to_owned());
        }
    }
    counted
}

fn show(line: &str) {
    // Where standard output is gone, there is no one left to tell.
    let _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_by_their_last_line() {
        let line = "test result: ok. 174 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out";
        let counts = |passed, failed, ignored| Counts {
            passed,
            failed,
            ignored,
        };
        assert_eq!(Counts::read(line), Some(counts(174, 0, 3)));
        let line = "test result: FAILED. 2 passed; 1 failed; 0 ignored";
        assert_eq!(Counts::read(line), Some(counts(2, 1, 0)));
        for other in [
            "test passed ... ok",
            "running 3 tests",
            "test result: ",
            "test result: ok. 2 passed",
            "test result: ok. 2 passed; 0 ignored; 0 failed",
            " test result: ok. 2 passed; 0 failed; 0 ignored",
        ] {
            assert_eq!(Counts::read(other), None, "{other}");
        }
    }

    #[test]
    fn each_program_is_counted_and_what_was_not_run_is_named() {
        let output = "running 2 tests\n\
            test kvm::one ... ok\n\
            test kvm::two ... ignored\n\
            test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 9 filtered out\n\
            running 1 test\n\
            test three ... ignored, it is slow\n\
            test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n";
        let counted = read(output.lines().map(str::to_owned));
        let programs = counted.programs.iter();
        let passed: Vec<usize> = programs.map(|counts| counts.passed).collect();
        assert_eq!(passed, [1, 0]);
        assert_eq!(counted.ran, ["kvm::one"]);
        assert_eq!(counted.ignored, ["kvm::two", "three"]);
    }

    #[test]
    fn a_hang_is_a_finding_and_a_stop_is_none() {
        let shell = |limit, stop: &StopToken| {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", "exec sleep 600"]);
            within(limit, run(&mut shell, limit, stop))
        };
        let hung = shell(Duration::from_millis(20), &StopToken::default());
        let reason = hung.expect("a finding").expect_err("it hangs");
        assert_eq!(reason, "it did not end within 0 s");
        let stop = StopToken::default();
        stop.stop();
        let stopped = shell(Duration::from_secs(600), &stop);
        assert!(matches!(stopped, Err(ProcessError::Stopped)));
    }

    #[test]
    fn a_programs_output_is_read_to_its_end() {
        let mut shell = Command::new("/bin/sh");
        let line = "test result: ok. 5 passed; 0 failed; 1 ignored";
        shell.args(["-c", &format!("echo '{line}'; exit 3")]);
        let limit = Duration::from_secs(20);
        let counted = run(&mut shell, limit, &StopToken::default()).expect("a shell runs");
        assert_eq!(counted.status.code(), Some(3));
        assert_eq!(counted.programs, [Counts::read(line).expect("it is one")]);
    }
}
