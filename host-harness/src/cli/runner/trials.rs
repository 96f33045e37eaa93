//! Runs tests, each in a VM of its own.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use dormir_abi::test_table::ARGUMENT;
use libtest_mimic::{Failed, Trial};

use crate::{
    cli::{command::note, output::ConsoleOutput},
    escape::{escape, escape_lines},
    test_table::GuestTest,
    vmm::{self, Outcome, Report, RunConfig, Vmm},
};

/// The runs of a program's tests.
#[derive(Clone)]
pub(super) struct TestRuns(Arc<Shared>);

struct Shared {
    elf: PathBuf,
    /// `None` if no test is run, but all are listed.
    config: Option<RunConfig>,
    /// Whether the console is shown as it comes.
    shows_console: bool,
    /// How long each VM took from its start to the test.
    boots: Mutex<Vec<Duration>>,
}

impl TestRuns {
    pub(super) fn new(elf: &Path, config: Option<RunConfig>, shows_console: bool) -> Self {
        Self(Arc::new(Shared {
            elf: elf.to_owned(),
            config,
            shows_console,
            boots: Mutex::default(),
        }))
    }

    /// Makes a trial of each test.
    pub(super) fn trials(&self, tests: Vec<GuestTest>) -> Vec<Trial> {
        let trial = |test: GuestTest| {
            let (name, is_ignored) = (test.name.clone(), test.is_ignored);
            let runs = self.0.clone();
            Trial::test(name, move || runs.run(&test)).with_ignored_flag(is_ignored)
        };
        tests.into_iter().map(trial).collect()
    }

    /// Prints how long the VMs took to boot.
    pub(super) fn show_boots(&self) {
        let boots = self.0.boots.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(config), Some(longest)) = (&self.0.config, boots.iter().max()) {
            note(format_args!("{}", boots_line(config.vmm, &boots, *longest)));
        }
    }
}

/// The line about boots: how many, under which VMM, and how long they took.
fn boots_line(vmm: Vmm, boots: &[Duration], longest: Duration) -> String {
    let count = boots.len();
    let average = boots.iter().sum::<Duration>() / u32::try_from(count).unwrap_or(u32::MAX);
    let plural = if count == 1 { "" } else { "s" };
    format!(
        "{count} VM{plural} under {vmm}; from start to test: {:.1} ms on average, {:.1} ms at most",
        milliseconds(average),
        milliseconds(longest),
    )
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

impl Shared {
    fn run(&self, test: &GuestTest) -> Result<(), Failed> {
        let Some(config) = &self.config else {
            unreachable!("a list runs no test");
        };
        let mut config = config.clone();
        config.arguments = format!("{ARGUMENT}={}", test.index);
        config.timeout = test.timeout.unwrap_or(config.timeout);
        let started = Instant::now();
        let mut console = Vec::new();
        let report = if self.shows_console {
            let mut output = ConsoleOutput::new(false);
            let report = self.boot(&config, &mut output);
            output.finish();
            report
        } else {
            self.boot(&config, &mut console)
        }?;
        // The guest reports the time when it calls the test.
        let boot = report.times.first().map(|time| time.at - started);
        if let Some(boot) = boot {
            let mut boots = self.boots.lock().unwrap_or_else(PoisonError::into_inner);
            boots.push(boot);
        }
        if self.shows_console {
            show_times(test, boot, started.elapsed());
        }
        judge(test, &report.outcome, boot.is_some()).map_err(|mut sentence| {
            if !console.is_empty() {
                let text = String::from_utf8_lossy(&console);
                sentence.push_str("\n--- console ---\n");
                sentence.push_str(escape_lines(&text).trim_end());
            }
            sentence.into()
        })
    }

    fn boot(
        &self,
        config: &RunConfig,
        console: &mut (dyn Write + Send),
    ) -> Result<Report, vmm::RunError> {
        vmm::run(&self.elf, config, console)
    }
}

fn show_times(test: &GuestTest, boot: Option<Duration>, whole: Duration) {
    if let Some(boot) = boot {
        note(format_args!(
            "{}: {:.1} ms from the VM's start to the test, {:.1} ms for the test and the VM's end",
            test.name,
            milliseconds(boot),
            milliseconds(whole.saturating_sub(boot)),
        ));
    }
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

    #[test]
    fn boots_are_summed_up() {
        let boots = [2, 4].map(Duration::from_millis);
        assert_eq!(
            boots_line(Vmm::Kvm, &boots, boots[1]),
            "2 VMs under kvm; from start to test: 3.0 ms on average, 4.0 ms at most"
        );
    }
}
