//! Boots guests for tests.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use dormir_harness::{
    guest::{self, Images, Profile},
    guest_tests::{self, GuestTest},
    toolchain::GuestToolchain,
    vmm::{self, Accelerator, Outcome, Report, RunConfig, StopToken, Vmm, kvm},
    workspace::Workspace,
};
use libtest_mimic::{Failed, Trial};

/// The time limit of a guest, boot included: ten times what the slowest takes on a slow machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// A finished run.
pub(crate) struct Run {
    pub(crate) report: Report,
    pub(crate) console: String,
}

impl Run {
    /// Returns a figure that the guest reported.
    pub(crate) fn stat(&self, name: &str) -> Result<u64, Failed> {
        let stat = self.report.stats.iter().find(|(key, _)| key == name);
        stat.map(|(_, value)| *value)
            .ok_or_else(|| format!("the guest did not report `{name}`").into())
    }

    /// Checks that the guest ended with success.
    pub(crate) fn succeeded(self) -> Result<Self, Failed> {
        let success = self.report.outcome.is_success();
        self.check(success, "the guest did not end with success")?;
        Ok(self)
    }

    /// Fails with `message` unless `expected`.
    pub(crate) fn check(&self, expected: bool, message: &str) -> Result<(), Failed> {
        if expected {
            return Ok(());
        }
        // Shows only the end of the console, where the problem is; all of it could bury the
        // message.
        let lines: Vec<&str> = self.console.lines().collect();
        let end = lines[lines.len().saturating_sub(40)..].join("\n");
        let outcome = &self.report.outcome;
        Err(format!("{message}\n{outcome}\n--- end of the console ---\n{end}").into())
    }
}

/// Returns the guest images, which are built at the first call.
pub(crate) fn images() -> Result<&'static Images, Failed> {
    static IMAGES: OnceLock<Result<Images, String>> = OnceLock::new();
    let built = IMAGES.get_or_init(|| {
        let build = || -> Result<Images, Box<dyn std::error::Error>> {
            let workspace = Workspace::locate()?;
            let toolchain = GuestToolchain::detect(&workspace)?;
            let names = [
                "bare",
                "big-image",
                "cases",
                "clock",
                "counts",
                "demo",
                "embassy",
                "hello",
                "image",
                "latency",
                "sends",
                "size-dormir",
                "size-embassy",
                "size-empty",
                "sleeps",
                "sweep",
                "wake-sweep",
            ];
            Ok(guest::build(
                &toolchain,
                &workspace,
                &names,
                &StopToken::default(),
            )?)
        };
        build().map_err(|error| error.to_string())
    });
    built.as_ref().map_err(|error| Failed::from(error.clone()))
}

/// Returns the image `cases` of the development profile, which is built at the first call.
pub(crate) fn cases_in_dev() -> Result<&'static Path, Failed> {
    static CASES: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = CASES.get_or_init(|| {
        let build = || -> Result<PathBuf, Box<dyn std::error::Error>> {
            let workspace = Workspace::locate()?;
            let toolchain = GuestToolchain::detect(&workspace)?;
            let stop = StopToken::default();
            let images = guest::build_in(Profile::Dev, &toolchain, &workspace, &["cases"], &stop)?;
            Ok(images.get("cases")?.to_owned())
        };
        build().map_err(|error| error.to_string())
    });
    let built = built
        .as_ref()
        .map_err(|error| Failed::from(error.clone()))?;
    Ok(built)
}

/// Boots the guest program `image` and waits for its end.
pub(crate) fn boot(image: &str, config: &RunConfig) -> Result<Run, Failed> {
    boot_file(images()?.get(image)?, config)
}

/// Boots the guest in this file and waits for its end.
pub(crate) fn boot_file(elf: &Path, config: &RunConfig) -> Result<Run, Failed> {
    let mut console = Vec::new();
    let report = vmm::run(elf, config, &mut console)?;
    Ok(Run {
        report,
        console: String::from_utf8_lossy(&console).into_owned(),
    })
}

/// Returns the tests of the guest program `image`.
fn tests_of(image: &str) -> Result<Vec<GuestTest>, Failed> {
    let tests = guest_tests::list(images()?.get(image)?)?;
    tests.ok_or_else(|| format!("`{image}` is not a test program").into())
}

/// Runs a test of the guest program `image`, and checks that it passes.
pub(crate) fn test_passes(image: &str, test: &str, vmm: Vmm) -> Result<(), Failed> {
    let tests = tests_of(image)?;
    let Some(test) = tests.iter().find(|known| known.name == test) else {
        return Err(format!("`{image}` has no test `{test}`").into());
    };
    let mut console = Vec::new();
    let config = config(vmm, "");
    let report = guest_tests::run(images()?.get(image)?, test, &config, &mut console)?;
    match report.failure {
        None => Ok(()),
        Some(failure) => Err(format!("{failure}\n{}", String::from_utf8_lossy(&console)).into()),
    }
}

/// Checks that these are all tests of the guest program `image`.
pub(crate) fn is_whole(image: &str, names: &[&str]) -> Result<(), Failed> {
    let tests = tests_of(image)?;
    let found: Vec<&str> = tests.iter().map(|test| &*test.name).collect();
    if found == names {
        Ok(())
    } else {
        Err(format!("`{image}` has the tests {found:#?}").into())
    }
}

/// Returns the usual configuration with these arguments.
pub(crate) fn config(vmm: Vmm, arguments: impl Into<String>) -> RunConfig {
    let mut config = RunConfig::new(vmm);
    config.timeout = LIMIT;
    config.arguments = arguments.into();
    config
}

/// Returns whether a machine of this VMM may lack this timer source.
pub(crate) fn may_lack(vmm: Vmm, timer: &str) -> Result<bool, Failed> {
    Ok(match vmm {
        // Later versions support these two.
        Vmm::Qemu(Accelerator::Tcg, _) => timer == "x2apic" || timer == "tsc-deadline",
        _ => timer == "tsc-deadline" && !kvm::probe()?.tsc_deadline,
    })
}

/// Makes a test named `VMM::name` for each VMM.
pub(crate) fn on_every_vmm(
    name: &str,
    test: impl Fn(Vmm) -> Result<(), Failed> + Clone + Send + 'static,
) -> Vec<Trial> {
    Vmm::ALL
        .into_iter()
        .map(|vmm| {
            let test = test.clone();
            Trial::test(format!("{vmm}::{name}"), move || test(vmm))
        })
        .collect()
}

/// Returns whether `outcome` is a fault whose description contains `text`.
pub(crate) fn is_fault(outcome: &Outcome, text: &str) -> bool {
    matches!(outcome, Outcome::Faulted(message) if message.contains(text))
}

/// Returns whether `outcome` is a panic whose message contains `text`.
pub(crate) fn is_panic(outcome: &Outcome, text: &str) -> bool {
    matches!(outcome, Outcome::Panicked(message) if message.contains(text))
}
