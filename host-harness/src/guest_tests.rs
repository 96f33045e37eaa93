//! Tests in guests: reads which tests a program has, and runs each in a VM of its own.

pub(crate) mod table;

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use dormir_abi::test_table::ARGUMENT;
use object::ReadCache;

use crate::{
    escape::escape,
    vmm::{self, Outcome, Report, RunConfig, RunError},
};
pub use table::{GuestTest, TestTableError};

/// The tests of a program cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", elf.display())]
pub struct ListError {
    elf: PathBuf,
    problem: TestTableError,
}

/// The result of a test.
#[derive(Clone, Debug)]
pub struct TestReport {
    /// Why the test has not passed, if so.
    pub failure: Option<String>,
    /// From the start of the VM to the test; `None` if the guest did not get that far.
    pub boot: Option<Duration>,
    /// From the start of the VM to its end.
    pub wall: Duration,
    /// What the guest did: how it ended, its backtrace, and the data that it sent.
    pub guest: Report,
}

/// Lists the tests of a program, sorted by name. Returns `None` if it is not a test program, or
/// cannot be read, of which running it gives the reason.
///
/// # Errors
///
/// The program's table of tests cannot be used.
pub fn list(elf: &Path) -> Result<Option<Vec<GuestTest>>, ListError> {
    let is_file = fs::metadata(elf).is_ok_and(|metadata| metadata.is_file());
    let Some(file) = is_file.then(|| File::open(elf).ok()).flatten() else {
        return Ok(None);
    };
    // Only what is asked for is read, however large the file is.
    table::read(&ReadCache::new(file)).map_err(|problem| ListError {
        elf: elf.to_owned(),
        problem,
    })
}

/// Runs one test of the program `elf`. The time limit of `config` applies unless the test has one
/// of its own; its arguments are passed to the guest too.
///
/// # Errors
///
/// As [`vmm::run`]: no guest has run.
pub fn run(
    elf: &Path,
    test: &GuestTest,
    config: &RunConfig,
    console: &mut (dyn Write + Send),
) -> Result<TestReport, RunError> {
    let mut config = config.clone();
    let gap = if config.arguments.is_empty() { "" } else { " " };
    config.arguments = format!("{}{gap}{ARGUMENT}={}", config.arguments, test.index);
    config.timeout = test.timeout.unwrap_or(config.timeout);
    let started = Instant::now();
    let report = vmm::run(elf, &config, console)?;
    let wall = started.elapsed();
    // The guest reports the time when it calls the test.
    let boot = report.times.first().map(|time| time.at - started);
    Ok(TestReport {
        failure: judge(test, &report.outcome, boot.is_some()).err(),
        boot,
        wall,
        guest: report,
    })
}

/// Returns why the test has not passed, if so.
fn judge(test: &GuestTest, outcome: &Outcome, is_reached: bool) -> Result<(), String> {
    if !is_reached {
        return Err(format!("the guest ended before the test began: {outcome}"));
    }
    match (&test.should_panic, outcome) {
        (None, Outcome::Exited(0)) => Ok(()),
        (Some(expected), Outcome::Panicked(message)) => {
            // As a message arrives: in one line, and escaped.
            if message.contains(&escape(&expected.replace('\n', " "))) {
                return Ok(());
            }
            let expected = escape(expected);
            Err(format!(
                "{outcome}\nthe message should contain `{expected}`"
            ))
        }
        (Some(_), Outcome::Exited(0)) => Err("the test did not panic, but should".into()),
        (_, Outcome::TimedOut { .. }) if test.timeout.is_some() => Err(format!(
            "{outcome} (this test's limit is `timeout` in its attribute)"
        )),
        (_, outcome) => Err(outcome.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(should_panic: Option<&str>, timeout: Option<Duration>) -> GuestTest {
        GuestTest {
            program: "t".into(),
            name: "a".into(),
            index: 1,
            is_ignored: false,
            should_panic: should_panic.map(str::to_owned),
            timeout,
        }
    }

    #[test]
    fn a_test_passes_only_if_it_ends_as_it_should() {
        let panicked = |message: &str| Outcome::Panicked(message.into());
        let plain = test(None, None);
        assert_eq!(judge(&plain, &Outcome::Exited(0), true), Ok(()));
        for outcome in [Outcome::Exited(1), panicked("a"), Outcome::PoweredOff] {
            assert!(judge(&plain, &outcome, true).is_err(), "{outcome:?}");
        }
        assert_eq!(judge(&test(Some(""), None), &panicked("a"), true), Ok(()));
        let panics = test(Some("two\nlines"), None);
        let message = panicked("src/a.rs:1:1: these are two lines");
        assert_eq!(judge(&panics, &message, true), Ok(()));
        let sentence = judge(&panics, &panicked("one line"), true).expect_err("another message");
        assert!(
            sentence.contains("should contain `two\\nlines`"),
            "{sentence}"
        );
        for outcome in [Outcome::Exited(0), Outcome::Faulted("two lines".into())] {
            assert!(judge(&panics, &outcome, true).is_err(), "{outcome:?}");
        }
    }

    #[test]
    fn a_guest_that_ends_early_has_passed_no_test() {
        let early = judge(&test(None, None), &Outcome::Exited(0), false).expect_err("early");
        assert!(early.contains("before the test began"), "{early}");
    }

    #[test]
    fn a_limit_of_the_tests_own_is_named() {
        let outcome = Outcome::TimedOut {
            limit: Duration::from_secs(1),
            place: None,
        };
        let own = test(None, Some(Duration::from_secs(1)));
        let sentence = judge(&own, &outcome, true).expect_err("too late");
        assert!(
            sentence.contains("`timeout` in its attribute"),
            "{sentence}"
        );
    }
}
