//! Boots guests for tests.

use std::{path::Path, sync::LazyLock, time::Duration};

use dormir_harness::{
    guest::{self, Images, Profile},
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

/// The test programs; each is of a package of its own.
pub(crate) const TEST_PROGRAMS: [&str; 2] = ["cases", "embassy"];

/// Guest images that are built when they are first asked for.
type Built = LazyLock<Result<Images, String>>;

/// Returns the images of the test programs.
pub(crate) fn test_programs() -> Result<&'static Images, Failed> {
    static IMAGES: Built = LazyLock::new(|| build(Profile::Release, &TEST_PROGRAMS));
    built(&IMAGES)
}

/// Returns the images of the other programs.
pub(crate) fn images() -> Result<&'static Images, Failed> {
    const NAMES: [&str; 33] = [
        "bare",
        "big-image",
        "clock",
        "counts",
        "demo",
        "device-sweep",
        "devices",
        "echo",
        "endings",
        "fetches",
        "hello",
        "hello-console",
        "hello-net",
        "hello-serial",
        "hello-vsock",
        "host-calls",
        "http",
        "image",
        "latency",
        "random-programs",
        "sends",
        "shell",
        "size-dormir",
        "size-embassy",
        "size-empty",
        "sleeps",
        "soak",
        "store-key",
        "storm",
        "sweep",
        "vsock",
        "wake-sweep",
        "watched",
    ];
    static IMAGES: Built = LazyLock::new(|| build(Profile::Release, &NAMES));
    built(&IMAGES)
}

/// Returns the image `endings` of the development profile.
pub(crate) fn endings_in_dev() -> Result<&'static Path, Failed> {
    static IMAGES: Built = LazyLock::new(|| build(Profile::Dev, &["endings"]));
    Ok(built(&IMAGES)?.get("endings")?)
}

fn build(profile: Profile, names: &[&str]) -> Result<Images, String> {
    let build = || -> Result<Images, Box<dyn std::error::Error>> {
        let workspace = Workspace::locate()?;
        let toolchain = GuestToolchain::detect(&workspace)?;
        let stop = StopToken::default();
        Ok(guest::build_in(
            profile, &toolchain, &workspace, names, &stop,
        )?)
    };
    build().map_err(|error| error.to_string())
}

fn built(images: &'static Built) -> Result<&'static Images, Failed> {
    images.as_ref().map_err(|error| Failed::from(error.clone()))
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
