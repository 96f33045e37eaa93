//! Tests in guests, as users run them: by `cargo test` and `cargo nextest run` in the package
//! `dormir-tested-guest`, whose tests `cargo vm runner` runs in VMs.

use std::{fs, time::Duration};

use assert_cmd::Command;
use dormir_harness::{
    toolchain::{GuestToolchain, TARGET},
    workspace::Workspace,
};

/// The time limit of one run of cargo, the build included.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// What a run of cargo printed, and its status.
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Run {
    #[track_caller]
    fn has(&self, parts: &[&str]) {
        for part in parts {
            let is_there = self.stdout.contains(part) || self.stderr.contains(part);
            assert!(
                is_there,
                "`{part}` is missing:\n{}\n{}",
                self.stdout, self.stderr
            );
        }
    }

    #[track_caller]
    fn ended_with(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
    }
}

/// Runs cargo in the guests' workspace, with tests under this VMM.
fn cargo(verb: &[&str], vmm: &str, rest: &[&str]) -> Run {
    cargo_with(verb, vmm, rest, &[])
}

/// Runs it with these variables too.
fn cargo_with(verb: &[&str], vmm: &str, rest: &[&str], variables: &[(&str, &str)]) -> Run {
    let workspace = Workspace::locate().expect("the test runs in a checkout");
    let toolchain = GuestToolchain::detect(&workspace).expect("guests can be built");
    let mut command = toolchain.command();
    command
        .args(verb)
        .args([
            "--locked",
            "--package",
            "dormir-tested-guest",
            "--target",
            TARGET,
        ])
        .arg("--target-dir")
        .arg(workspace.guest_target())
        .args(rest)
        .current_dir(workspace.guest())
        .env("DORMIR_CARGO_VM", env!("CARGO_BIN_EXE_cargo-vm"))
        .env("DORMIR_VMM", vmm)
        .envs(variables.iter().copied());
    let mut command = Command::from_std(command);
    let output = command.timeout(LIMIT).output().expect("cargo runs");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Run {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

fn every_form_passes(vmm: &str) {
    let run = cargo(&["test"], vmm, &["--test", "passing", "--lib"]);
    run.ended_with(0);
    run.has(&[
        "test tests::sums ",
        "test adds ",
        "test nested::first_has_the_machine_alone ",
        "10 passed; 0 failed; 1 ignored",
        &format!("10 VMs under {vmm}; from start to test: "),
    ]);
    assert!(
        !run.stdout.contains("a line of output"),
        "it is shown only for a failure"
    );
}

#[test]
fn every_form_passes_under_kvm() {
    every_form_passes("kvm");
}

#[test]
fn every_form_passes_under_qemu_tcg_microvm() {
    every_form_passes("qemu-tcg/microvm");
}

#[test]
fn each_failure_is_shown_with_its_console() {
    let run = cargo(
        &["test"],
        "qemu-tcg/microvm",
        &["--test", "failing", "--", "--ignored"],
    );
    run.ended_with(101);
    run.has(&[
        "0 passed; 8 failed",
        "no such number\nbacktrace of the guest, innermost call first:\n",
        "at tested/tests/failing.rs:",
        "\n--- console ---\nbefore the panic\n",
        "error: it went wrong",
        "time limit of 3s",
        "raise `timeout` in the test's attribute",
        "the message should contain `other words`",
        "the message should contain `failing`",
        "`the end`, and may do so in its end, which was cut",
        "the test did not panic, but should",
        "exit code 3",
    ]);
}

#[test]
fn a_guest_that_ends_before_its_test_has_not_passed_it() {
    let dying = |rest: &[&str]| {
        let rest = [&["--test", "dying", "--"], rest].concat();
        cargo(&["test"], "qemu-tcg/microvm", &rest)
    };
    // The list is read from the file.
    dying(&["--list"]).has(&["is_never_reached: test"]);
    let run = dying(&["--ignored"]);
    run.ended_with(101);
    run.has(&["is_never_reached", "the guest ended before the test began"]);
}

#[test]
fn a_program_made_by_the_attributes_runs() {
    let run = cargo(
        &["run", "--quiet"],
        "qemu-tcg/microvm",
        &["--bin", "tested"],
    );
    run.ended_with(7);
    assert_eq!(run.stdout, "sum: 55\non\noff\non\noff\n");
}

#[test]
fn what_a_test_sends_is_in_a_folder_of_its_own() {
    let out = tempfile::tempdir().expect("a folder for the data");
    let program = env!("CARGO_BIN_EXE_cargo-vm");
    let runner = format!("{program} runner --out {}", out.path().display());
    let run = cargo_with(
        &["test"],
        "qemu-tcg/microvm",
        &["--test", "passing", "--", "sends"],
        &[("CARGO_TARGET_X86_64_UNKNOWN_NONE_RUNNER", &runner)],
    );
    run.ended_with(0);
    let file = "dormir-tested-guest/passing/nested.sends/a.txt";
    let data = fs::read_to_string(out.path().join(file)).expect("the test's file");
    assert_eq!(data, "for the host");
}

#[test]
fn a_program_may_never_return() {
    let run = cargo(&["run", "--quiet"], "qemu-tcg/microvm", &["--bin", "never"]);
    run.ended_with(9);
}

/// What nextest does: a list of all, a list of the ignored, and one process for each test.
#[test]
fn nextest_finds_what_it_needs() {
    let runner = |rest: &[&str]| cargo(&["test", "--test", "passing"], "qemu-tcg/microvm", rest);
    let all = runner(&["--", "--list", "--format", "terse"]);
    all.ended_with(0);
    let lines: Vec<_> = all.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            "adds: test",
            "ends_while_a_task_is_left: test",
            "is_ignored: test",
            "names::spawner: test",
            "nested::first_has_the_machine_alone: test",
            "nested::second_has_the_machine_alone: test",
            "nested::sends: test",
            "never_returns: test",
            "panics: test",
            "sleeps: test",
            "spawns: test",
        ]
    );
    let ignored = runner(&["--", "--list", "--format", "terse", "--ignored"]);
    assert_eq!(ignored.stdout, "is_ignored: test\n");
    let one = runner(&["--", "--exact", "adds", "--nocapture"]);
    one.ended_with(0);
    one.has(&[
        "a line of output",
        "from the VM's start to the test",
        "1 passed",
    ]);
}

#[test]
fn nextest_runs_each_test() {
    let workspace = Workspace::locate().expect("the test runs in a checkout");
    let toolchain = GuestToolchain::detect(&workspace).expect("guests can be built");
    let mut version = toolchain.command();
    version.args(["nextest", "--version"]);
    if !version.output().is_ok_and(|output| output.status.success()) {
        eprintln!("cargo-nextest is not installed: only its protocol was tested");
        return;
    }
    let nextest = |rest: &[&str]| {
        let verb = ["nextest", "run", "--profile", "ci", "--color", "never"];
        cargo(&verb, "qemu-tcg/microvm", rest)
    };
    let junit = || {
        let path = workspace.guest().join("target/nextest/ci/junit.xml");
        fs::read_to_string(path).expect("the profile writes it")
    };
    let run = nextest(&[]);
    run.ended_with(0);
    run.has(&[
        "dormir-tested-guest::passing adds",
        "12 tests run: 12 passed, 10 skipped",
    ]);
    let passed = junit();
    let testcase = r#"<testcase name="adds" classname="dormir-tested-guest::passing""#;
    assert!(passed.contains(testcase), "{passed}");

    let run = nextest(&["--test=failing", "--run-ignored=only", "--no-fail-fast"]);
    run.ended_with(100);
    let failed = junit();
    for part in [r#"failures="8""#, "no such number", "before the panic"] {
        assert!(failed.contains(part), "{part}: {failed}");
    }
}

#[test]
fn the_profile_with_junit_is_the_documented_one() {
    let page = include_str!("../../docs/guest-tests.md");
    let profile = include_str!("../../guest-image/.config/nextest.toml");
    assert!(page.contains(&format!("```toml\n{profile}```\n")));
}

#[test]
fn filters_select_as_in_rusts_test_harness() {
    let count = |filters: &[&str], count: &str| {
        let rest = [&["--test", "passing", "--"], filters].concat();
        let run = cargo(&["test"], "qemu-tcg/microvm", &rest);
        run.ended_with(0);
        run.has(&[count]);
    };
    count(&["nothing-like-it"], "running 0 tests");
    count(&["adds", "sleeps"], "2 passed; 0 failed; 0 ignored");
    count(&["--exact", "add", "--test-threads=1"], "running 0 tests");
    count(&["--include-ignored", "--skip", "s"], "0 failed; 0 ignored");
}

#[test]
fn a_wrong_option_and_a_sandbox_are_refused() {
    let run = cargo(
        &["test", "--test", "passing"],
        "kvm",
        &["--", "--no-such-option"],
    );
    run.ended_with(101);
    run.has(&["--no-such-option"]);
    let run = cargo(&["test", "--test", "passing"], "hyperlight", &[]);
    run.ended_with(125);
    run.has(&["not in Hyperlight sandboxes"]);
    let run = cargo(&["test", "--test", "passing"], "vmware", &[]);
    run.ended_with(125);
    run.has(&["DORMIR_VMM", "`vmware`"]);
}
