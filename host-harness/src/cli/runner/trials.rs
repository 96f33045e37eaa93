//! Runs tests, each in a VM of its own.

use std::{
    env,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dormir_abi::record::is_data_name;
use libtest_mimic::{Failed, Trial};

use crate::{
    cli::{
        command::note,
        output::ConsoleOutput,
        run::out::{OutError, OutFolder},
    },
    escape::escape_lines,
    guest_tests::{self, GuestTest},
    vmm::{Report, RunConfig, Vmm},
};

/// The runs of a program's tests.
#[derive(Clone)]
pub(super) struct TestRuns(Arc<Shared>);

struct Shared {
    elf: PathBuf,
    /// `None` if no test is run, but all are listed.
    config: Option<RunConfig>,
    /// Where each test's data goes, in a folder of its own.
    out: Option<PathBuf>,
    /// Whether the console is shown as it comes.
    shows_console: bool,
    /// How long each VM took from its start to the test.
    boots: Mutex<Vec<Duration>>,
}

impl TestRuns {
    pub(super) fn new(
        elf: &Path,
        config: Option<RunConfig>,
        out: Option<&Path>,
        shows_console: bool,
    ) -> Self {
        Self(Arc::new(Shared {
            elf: elf.to_owned(),
            config,
            out: out.map(Path::to_owned),
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
        let mut console = Vec::new();
        let report = if self.shows_console {
            let mut output = ConsoleOutput::new(false);
            let report = guest_tests::run(&self.elf, test, config, &mut output);
            output.finish();
            report
        } else {
            guest_tests::run(&self.elf, test, config, &mut console)
        }?;
        if let Some(boot) = report.boot {
            let mut boots = self.boots.lock().unwrap_or_else(PoisonError::into_inner);
            boots.push(boot);
            if self.shows_console {
                show_times(test, boot, report.wall);
            }
        }
        let kept = self.keep_data(test, &report.guest);
        let Some(mut sentence) = report.failure else {
            return kept.map_err(Failed::from);
        };
        if let Err(error) = kept {
            sentence.push_str(&format!("\n{error}"));
        }
        if let Some(backtrace) = &report.guest.backtrace {
            sentence.push_str(&format!("\n{}", escape_lines(&backtrace.to_string())));
        }
        if !console.is_empty() {
            let text = String::from_utf8_lossy(&console);
            sentence.push_str("\n--- console ---\n");
            sentence.push_str(escape_lines(&text).trim_end());
        }
        Err(sentence.into())
    }

    /// Writes what the test sent, if that is asked for.
    fn keep_data(&self, test: &GuestTest, guest: &Report) -> Result<(), OutError> {
        match &self.out {
            Some(out) if !guest.data.is_empty() => {
                let package = env::var(PACKAGE).ok();
                let folder = folder(out, package.as_deref(), test);
                OutFolder::make(&folder)?.write(guest)
            }
            _ => Ok(()),
        }
    }
}

/// The variable with the package's name, which cargo and nextest set for the runner.
const PACKAGE: &str = "CARGO_PKG_NAME";

/// Returns the folder for what a test sends: the package's, if its name is known and can be a
/// folder's; in it the test file's, and in that the test's own. No part of it has a colon, which
/// other systems and stores of files do not take.
fn folder(out: &Path, package: Option<&str>, test: &GuestTest) -> PathBuf {
    let package = package.filter(|name| is_data_name(name)).unwrap_or("");
    out.join(package)
        .join(&test.program)
        .join(test.name.replace("::", "."))
}

fn show_times(test: &GuestTest, boot: Duration, wall: Duration) {
    note(format_args!(
        "{}: {:.1} ms from the VM's start to the test, {:.1} ms for the test and the VM's end",
        test.name,
        milliseconds(boot),
        milliseconds(wall.saturating_sub(boot)),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_has_a_folder_of_its_own_without_colons() {
        let test = GuestTest {
            program: "blink".into(),
            name: "fast::on".into(),
            index: 0,
            is_ignored: false,
            should_panic: None,
            timeout: None,
        };
        for (package, expected) in [
            (Some("my-guest"), "out/my-guest/blink/fast.on"),
            (Some("../my-guest"), "out/blink/fast.on"),
            (Some(""), "out/blink/fast.on"),
            (None, "out/blink/fast.on"),
        ] {
            let found = folder(Path::new("out"), package, &test);
            assert_eq!(found, Path::new(expected), "{package:?}");
        }
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
