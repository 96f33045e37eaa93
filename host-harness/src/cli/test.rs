//! `cargo vm test`: runs all tests, after installing what they need.

mod examples;
mod one_vmm;

use super::{Ended, FAILURE, Installing, note};
use crate::{
    host_cargo::cargo,
    process::{self, Scope},
    setup::{self, Needs, Policy, SetupError},
    stop::StopToken,
    toolchain::GuestToolchain,
    workspace::Workspace,
};
use one_vmm::OneVmm;
use std::{
    env,
    ffi::OsString,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus},
    time::Duration,
};

/// Runs all tests: on the host, in VMs, and models of the executor under loom
///
/// First runs `cargo test --all-features` in the top folder. If it passes, the library's own tests
/// follow with its default features and `alloc`, as most programs build it: without metrics and
/// trace; and those of embassy's timers without a heap. Then come the library's examples that need
/// a machine, each as a guest in a VM, and the models: the library's tests in a build for loom, in
/// target/loom, which tries the interleavings of threads. The status is cargo's; after a failure
/// nothing more is run.
///
/// Arguments of `cargo test` replace `--all-features` and select tests of the first kind; the
/// others are then skipped. --vmm selects the tests in VMs (tests/vm) of one VMM.
///
/// With --browser, tests of the page of `cargo vm bench --html` in a browser are of the first kind
/// too, before those in VMs.
///
/// Installs first what the tests need and this machine lacks: the compiler's library for guests;
/// QEMU, unless --vmm names a VMM without it; passt, without which only the tests of networks under
/// our own VMM fail; and with --browser a browser (Debian's chromium-headless-shell). It removes no
/// package, except one that is built from QEMU's own source and conflicts with QEMU. The first
/// lines say what is installed, and about how long it takes.
#[derive(Debug, clap::Args)]
pub(super) struct TestArguments {
    /// Runs only the tests of this VMM: kvm, qemu-tcg, qemu-kvm, hyperlight or
    /// hyperlight-interrupts; or of one machine type of QEMU, such as qemu-tcg/q35
    #[arg(long, conflicts_with = "cargo_test")]
    vmm: Option<OneVmm>,
    #[command(flatten)]
    installing: Installing,
    /// Also tests the page of `cargo vm bench --html` in a browser
    #[arg(long, conflicts_with_all = ["cargo_test", "vmm"])]
    browser: bool,
    /// Arguments of `cargo test`, such as a filter; then only tests of the first kind are run
    #[arg(last = true, value_name = "CARGO TEST ARGUMENTS")]
    cargo_test: Vec<OsString>,
}

/// Arguments of `cargo test` for the library's own tests without metrics and trace, and for those
/// of embassy's timers without a heap.
const OTHER_FEATURES: [&[&str]; 2] = [
    &["--package=dormir", "--lib", "--features=alloc"],
    &[
        "--package=dormir",
        "--lib",
        "--no-default-features",
        "--features=embassy-time",
        "time::embassy",
    ],
];

/// Arguments of `cargo test` for the models, besides the target folder.
pub(super) const MODELS: &[&str] = &[
    "--profile=models",
    "--package=dormir",
    "--lib",
    "--features=alloc",
    "loom_tests",
];

/// Arguments of `cargo test` that add the tests in a browser to those of the top folder. By
/// themselves they would have other features of what both depend on, and build it again.
const IN_A_BROWSER: &[&str] = &[
    "--workspace",
    "--exclude=dormir-bench",
    "--exclude=dormir-bench-linux",
];

/// The time limit of the examples, the models and the library's own tests, build included: many
/// times the usual time.
const LIMIT: Duration = Duration::from_secs(3600);

pub(super) fn run(arguments: &TestArguments, stop: &StopToken) -> Ended {
    // Queried now: the tests may rebuild this program, whose running file is then deleted.
    let cargo_vm = env::current_exe().ok();
    let one = arguments.vmm.as_ref();
    if let Some(one) = one {
        // Before anything is installed or built: set-up cannot fix what the VMM lacks.
        one.probe()?;
    }
    let workspace = Workspace::locate()?;
    let needs = Needs {
        qemu: one.is_none_or(OneVmm::needs_qemu),
        passt: one.is_none_or(OneVmm::needs_passt),
        browser: arguments.browser,
    };
    let toolchain = set_up(&workspace, needs, arguments.installing.policy(), stop)?;
    if let Some(one) = one {
        let mut tests = cargo(&workspace, "test");
        tests.args(one.arguments());
        let status = process::run(&mut tests, Scope::Group, Duration::MAX, stop)?;
        return Ok(code(status));
    }

    let is_whole = arguments.cargo_test.is_empty();
    let mut tests = cargo(&workspace, "test");
    if is_whole {
        tests.arg("--all-features");
    }
    if arguments.browser {
        tests.args(IN_A_BROWSER);
    }
    tests.args(&arguments.cargo_test);
    // Each test has its own time limit.
    let status = process::run(&mut tests, Scope::Group, Duration::MAX, stop)?;
    if !status.success() || !is_whole {
        return Ok(code(status));
    }

    for features in OTHER_FEATURES {
        let mut tests = cargo(&workspace, "test");
        tests.args(features);
        let status = process::run(&mut tests, Scope::Group, LIMIT, stop)?;
        if !status.success() {
            return Ok(code(status));
        }
    }

    let mut examples = examples::command(&toolchain, &workspace, cargo_vm.as_deref())?;
    let status = process::run(&mut examples, Scope::Group, LIMIT, stop)?;
    if !status.success() {
        return Ok(code(status));
    }

    let mut models = models(&workspace);
    let status = process::run(&mut models, Scope::Group, LIMIT, stop)?;
    Ok(code(status))
}

/// `cargo test` for the models.
pub(super) fn models(workspace: &Workspace) -> Command {
    let mut models = cargo(workspace, "test");
    models
        .env("RUSTFLAGS", for_loom(env::var_os("RUSTFLAGS")))
        // Built with different flags: in the usual folder each build would invalidate the other.
        .arg("--target-dir")
        .arg(workspace.root().join("target").join("loom"))
        .args(MODELS);
    models
}

/// As [`setup::set_up`]. But a `passt` that is missing keeps nobody from the tests that do without.
pub(super) fn set_up(
    workspace: &Workspace,
    needs: Needs,
    policy: Policy,
    stop: &StopToken,
) -> Result<GuestToolchain, SetupError> {
    let error = match setup::set_up(workspace, needs, policy, stop) {
        Err(SetupError::Lacking(sentence)) if needs.passt => sentence,
        other => return other,
    };
    let others = Needs {
        passt: false,
        ..needs
    };
    match setup::set_up(workspace, others, Policy::Refuse, stop) {
        Ok(toolchain) => {
            note(format_args!("{error}"));
            note(format_args!(
                "the tests of networks under our own VMM will fail, and no others"
            ));
            Ok(toolchain)
        }
        // More than that is missing.
        Err(_) => Err(SetupError::Lacking(error)),
    }
}

/// Returns the user's compiler flags plus the one for loom.
fn for_loom(flags: Option<OsString>) -> OsString {
    let mut flags = flags.unwrap_or_default();
    if !flags.is_empty() {
        flags.push(" ");
    }
    flags.push("--cfg=loom");
    flags
}

/// Returns a status as shells report it.
fn code(status: ExitStatus) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => return FAILURE,
    };
    u8::try_from(code).unwrap_or(FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_compiler_flags_stay() {
        assert_eq!(for_loom(None), "--cfg=loom");
        assert_eq!(for_loom(Some("".into())), "--cfg=loom");
        assert_eq!(
            for_loom(Some("-Cdebuginfo=1".into())),
            "-Cdebuginfo=1 --cfg=loom"
        );
    }

    #[test]
    fn a_status_is_as_a_shell_reports_it() {
        for (raw, expected) in [(0, 0), (101 << 8, 101), (9, 137)] {
            assert_eq!(code(ExitStatus::from_raw(raw)), expected);
        }
    }
}
