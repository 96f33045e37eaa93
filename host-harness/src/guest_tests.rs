//! Tests in guests: reads which tests a program has, and runs each in a VM of its own.

pub(crate) mod table;

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use dormir_abi::{record::MAX_MESSAGE, test_table::ARGUMENT};
use object::ReadCache;

use crate::{
    escape::escape,
    vmm::{self, Outcome, PanicMessage, Report, RunConfig, RunError, timed_out},
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
        failure: judge(test, &report.outcome, report.panic.as_ref(), boot.is_some()).err(),
        boot,
        wall,
        guest: report,
    })
}

/// Returns why the test has not passed, if so.
fn judge(
    test: &GuestTest,
    outcome: &Outcome,
    panic: Option<&PanicMessage>,
    is_reached: bool,
) -> Result<(), String> {
    if !is_reached {
        return Err(format!("the guest ended before the test began: {outcome}"));
    }
    match (&test.should_panic, outcome) {
        (None, Outcome::Exited(0)) => Ok(()),
        (Some(expected), Outcome::Panicked(_)) => {
            // As a message arrives: in one line, and escaped.
            let part = escape(&expected.replace('\n', " "));
            if panic.is_some_and(|panic| panic.text.contains(&*part)) {
                return Ok(());
            }
            let expected = escape(expected);
            let mut sentence = format!("{outcome}\nthe message should contain `{expected}`");
            if panic.is_some_and(|panic| panic.is_cut) {
                sentence.push_str(&format!(
                    ", and may do so in its end, which was cut: with task and location it has \
                     {MAX_MESSAGE} bytes at most"
                ));
            }
            Err(sentence)
        }
        (Some(_), Outcome::Exited(0)) => Err("the test did not panic, but should".into()),
        (_, Outcome::TimedOut { limit, place }) if test.timeout.is_some() => {
            let option = "`timeout` in the test's attribute";
            Err(timed_out(*limit, place.as_deref(), option))
        }
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

    /// The place of each panic.
    const PLACE: &str = "task a::t: src/a.rs:1:1";

    /// The sentence about this outcome of a test that was reached.
    fn sentence(test: &GuestTest, outcome: &Outcome) -> Result<(), String> {
        judge(test, outcome, None, true)
    }

    /// The sentence about a panic.
    fn panic_sentence(test: &GuestTest, message: &str, is_cut: bool) -> Result<(), String> {
        let outcome = Outcome::Panicked(format!("{PLACE}: {message} (and then its VM ended)"));
        let panic = PanicMessage {
            text: message.into(),
            is_cut,
        };
        judge(test, &outcome, Some(&panic), true)
    }

    #[test]
    fn a_test_passes_only_if_it_ends_as_it_should() {
        let plain = test(None, None);
        assert_eq!(sentence(&plain, &Outcome::Exited(0)), Ok(()));
        for outcome in [Outcome::Exited(1), Outcome::PoweredOff] {
            assert!(sentence(&plain, &outcome).is_err(), "{outcome:?}");
        }
        assert!(panic_sentence(&plain, "a", false).is_err());
        assert_eq!(panic_sentence(&test(Some(""), None), "a", false), Ok(()));
        let panics = test(Some("two\nlines"), None);
        assert_eq!(
            panic_sentence(&panics, "these are two lines", false),
            Ok(())
        );
        let other = panic_sentence(&panics, "one line", false).expect_err("another message");
        assert!(other.contains("should contain `two\\nlines`"), "{other}");
        for outcome in [Outcome::Exited(0), Outcome::Faulted("two lines".into())] {
            assert!(sentence(&panics, &outcome).is_err(), "{outcome:?}");
        }
    }

    #[test]
    fn only_the_panics_own_message_counts() {
        for part in ["task a", "a::t", "src/a.rs", "1:1", "and then", "its VM"] {
            let failed = panic_sentence(&test(Some(part), None), "no", false);
            let failed = failed.expect_err("it is not in the message");
            assert!(failed.contains(PLACE), "{failed}");
            assert!(!failed.contains("was cut"), "{failed}");
        }
    }

    #[test]
    fn a_message_that_was_cut_is_said_to_be() {
        let test = test(Some("end"), None);
        assert_eq!(panic_sentence(&test, "the end is far...", true), Ok(()));
        let failed = panic_sentence(&test, "so far...", true).expect_err("it is not there");
        assert!(
            failed.contains("`end`, and may do so in its end, which was cut"),
            "{failed}"
        );
    }

    #[test]
    fn a_guest_that_ends_early_has_passed_no_test() {
        let early = judge(&test(None, None), &Outcome::Exited(0), None, false).expect_err("early");
        assert!(early.contains("before the test began"), "{early}");
    }

    #[test]
    fn the_limit_that_the_test_has_reached_is_the_one_to_raise() {
        let outcome = Outcome::TimedOut {
            limit: Duration::from_secs(1),
            place: Some("halted".into()),
        };
        for (own, advice) in [
            (
                Some(Duration::from_secs(1)),
                "raise `timeout` in the test's attribute",
            ),
            (None, "raise --timeout"),
        ] {
            let failed = sentence(&test(None, own), &outcome).expect_err("too late");
            assert!(failed.contains("limit of 1s, halted: "), "{failed}");
            assert!(failed.ends_with(advice), "{failed}");
        }
    }
}
