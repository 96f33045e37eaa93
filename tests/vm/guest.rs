//! Boots guests for tests.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{LazyLock, Mutex},
    time::Duration,
};

use dormir_harness::{
    guest::{self, Images, Profile},
    toolchain::GuestToolchain,
    vmm::{self, Accelerator, Outcome, Report, RunConfig, StopToken, Vmm, kvm},
    workspace::Workspace,
};
use libtest_mimic::{Arguments, Failed, Trial};

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

/// The other programs.
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

/// Guest images that are built when they are first asked for.
type Built = LazyLock<Result<Images, String>>;

/// What follows the VMM's name, if this run is of tests whose names begin with one and go on.
pub(crate) fn chosen() -> Option<&'static str> {
    static FILTER: LazyLock<Option<String>> = LazyLock::new(|| Arguments::from_args().filter);
    let (vmm, rest) = FILTER.as_deref()?.split_once("::")?;
    let is_vmm = |other: Vmm| other.to_string() == vmm;
    let is_whole = vmm.starts_with("hyperlight") || Vmm::ALL.into_iter().any(is_vmm);
    (is_whole && !rest.is_empty()).then_some(rest)
}

/// Returns the image of a program. The first call builds all, which takes minutes, so that nothing
/// is built while guests run. If the tests were chosen by VMM and name, each call builds its own.
pub(crate) fn image_of(name: &str) -> Result<&'static Path, Failed> {
    static ALL: [Built; 2] = [
        LazyLock::new(|| build(Profile::Release, &TEST_PROGRAMS)),
        LazyLock::new(|| build(Profile::Release, &NAMES)),
    ];
    static CHOSEN: Mutex<BTreeMap<String, &Result<Images, String>>> = Mutex::new(BTreeMap::new());

    let images = match chosen() {
        None => &*ALL[usize::from(!TEST_PROGRAMS.contains(&name))],
        Some(_) => {
            let mut chosen = CHOSEN.lock().map_err(|_| "a build of a guest panicked")?;
            let build = || Box::leak(Box::new(build(Profile::Release, &[name]))) as &_;
            *chosen.entry(name.to_owned()).or_insert_with(build)
        }
    };
    Ok(built(images)?.get(name)?)
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

fn built(images: &Result<Images, String>) -> Result<&Images, Failed> {
    images.as_ref().map_err(|error| Failed::from(error.clone()))
}

/// Boots the guest program `image` and waits for its end.
pub(crate) fn boot(image: &str, config: &RunConfig) -> Result<Run, Failed> {
    boot_file(image_of(image)?, config)
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
