//! Set-up, and how `demo`, `doctor` and `test` use it, on simulated machines made of scripts.

use crate::{
    signals::signal_ends_all,
    support::{FakeMachine, is_error_line, outcome, text},
};
use rustix::process::Signal;
use std::fs;

const QEMU_SAYS: &str = "echo 'QEMU emulator version 9.9.9'";

#[test]
fn what_is_missing_is_installed_once() {
    let machine = FakeMachine::new();
    machine.script(
        "rustup",
        &format!(
            "echo rustup $* >>'{}'; echo downloading; mkdir -p '{}'",
            text(&machine.log()),
            text(&machine.library())
        ),
    );
    machine.script("qemu-system-x86_64", QEMU_SAYS);
    machine.script("cargo", "exit 0");

    let (status, stdout, stderr) = outcome(machine.cargo_vm().arg("test"));
    assert_eq!(status, Some(0), "{stderr}");
    assert_eq!(machine.logged(), "rustup target add x86_64-unknown-none\n");
    assert_eq!(stderr.lines().count(), 3, "{stderr}");
    let first = stderr.lines().next().unwrap_or_default();
    assert!(first.contains("takes about 10 s"), "{stderr}");
    assert!(
        stderr.contains("`rustup target add x86_64-unknown-none`"),
        "{stderr}"
    );
    assert!(stdout.is_empty(), "{stdout}");

    let (status, _, stderr) = outcome(machine.cargo_vm().arg("test"));
    assert_eq!(status, Some(0));
    assert!(stderr.is_empty(), "nothing is left to do: {stderr}");
    assert_eq!(machine.logged().lines().count(), 1);
}

#[test]
fn what_failed_shows_its_output_and_the_command_fails() {
    let machine = FakeMachine::new();
    machine.script("rustup", "echo the mirror is down; exit 1");
    let (status, _, stderr) = outcome(machine.cargo_vm().arg("test"));
    assert_eq!(status, Some(125));
    assert!(stderr.contains("\n  the mirror is down\n"), "{stderr}");
    let last = stderr.lines().last().expect("a last line");
    assert!(is_error_line(last), "{stderr}");
    assert!(last.contains("no apt-get"), "{stderr}");
}

#[test]
fn no_install_installs_nothing() {
    let machine = FakeMachine::new();
    let note = format!("echo $0 $* >>'{}'", text(&machine.log()));
    machine.script("rustup", &note);
    machine.script("apt-get", &note);
    machine.script("sudo", &note);
    for line in ["demo --no-install", "test --no-install"] {
        let (status, stdout, stderr) = outcome(machine.cargo_vm().args(line.split(' ')));
        assert_eq!(status, Some(125), "{line}");
        assert!(
            is_error_line(stderr.lines().last().unwrap_or("")),
            "{line}: {stderr}"
        );
        assert!(stderr.contains("`rustup target add"), "{line}: {stderr}");
        let names_qemu = stderr.contains(" qemu-system-x86`");
        assert!(
            names_qemu || line.starts_with("demo"),
            "{line} names all at once: {stderr}"
        );
        assert!(stdout.is_empty(), "{line}: {stdout}");
    }
    assert_only_simulated(&machine);
}

/// Asserts that no program was asked to do anything, except for simulations by apt.
fn assert_only_simulated(machine: &FakeMachine) {
    for line in machine.logged().lines() {
        assert!(line.contains("/apt-get install --simulate "), "{line}");
    }
}

#[test]
fn a_missing_qemu_is_named_with_the_command_that_installs_it() {
    let machine = FakeMachine::that_builds();
    machine.script("apt-get", "exit 1");
    machine.script("sudo", "exit 1");
    for line in ["test --no-install", "demo --no-install --vmm qemu-tcg"] {
        let (status, _, stderr) = outcome(machine.cargo_vm().args(line.split(' ')));
        assert_eq!(status, Some(125), "{line}");
        assert!(is_error_line(&stderr), "{line}: {stderr}");
        assert!(stderr.contains("qemu-system-x86`"), "{line}: {stderr}");
    }
}

#[test]
fn a_missing_passt_is_named_and_other_tests_run_without() {
    let machine = FakeMachine::that_builds();
    machine.script("apt-get", "exit 1");
    machine.script("sudo", "exit 1");
    machine.script("cargo", "exit 7");
    fs::remove_file(machine.bin().join("passt")).expect("it was there");
    let test = |arguments: &[&str]| {
        let all = [&["test", "--no-install"], arguments].concat();
        let (status, _, stderr) = outcome(machine.cargo_vm().args(all));
        (status, stderr)
    };
    // QEMU is missing, too.
    let (status, stderr) = test(&[]);
    assert_eq!(status, Some(125), "{stderr}");
    assert!(stderr.contains(" passt`"), "{stderr}");
    machine.script("qemu-system-x86_64", QEMU_SAYS);
    let (status, stderr) = test(&[]);
    assert_eq!(status, Some(7), "cargo's: {stderr}");
    assert!(
        stderr.contains(" passt`") && stderr.contains("will fail"),
        "{stderr}"
    );
    let (status, stderr) = test(&["--vmm", "qemu-tcg"]);
    assert_eq!((status, &*stderr), (Some(7), ""));
}

#[test]
fn doctor_changes_nothing_and_fails_where_no_guest_can_be_built() {
    let machine = FakeMachine::new();
    let note = format!("echo $0 $* >>'{}'", text(&machine.log()));
    machine.script("rustup", &note);
    machine.script("apt-get", &note);
    machine.script("sudo", &note);
    let (status, stdout, stderr) = outcome(machine.cargo_vm().arg("doctor"));
    assert_eq!(status, Some(1), "{stderr}");
    assert_only_simulated(&machine);
    for part in [
        "KVM ",
        "QEMU ",
        "guests ",
        "set-up    for the compiler's library for the guest target x86_64-unknown-none: would run \
         `rustup target add x86_64-unknown-none`",
        " --no-remove qemu-system-x86` and remove nothing",
        "VMMs ",
        "cannot be built",
        "qemu-tcg/microvm",
    ] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    for line in stdout.lines().filter(|line| line.contains("  qemu-")) {
        assert!(line.ends_with("not usable"), "there is no QEMU: {line}");
    }
}

#[test]
fn doctor_succeeds_with_one_vmm_and_a_compiler() {
    let machine = FakeMachine::that_builds();
    machine.script("qemu-system-x86_64", QEMU_SAYS);
    let (status, stdout, stderr) = outcome(machine.cargo_vm().arg("doctor"));
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("9.9.9"), "{stdout}");
    assert!(stdout.contains("rustc 9.8.7"), "{stdout}");
    assert_eq!(stdout.matches("the default").count(), 1, "{stdout}");
}

#[test]
fn the_tests_cargo_is_called_as_a_plain_one_and_its_status_is_returned() {
    let machine = FakeMachine::that_builds();
    machine.script("qemu-system-x86_64", QEMU_SAYS);
    machine.script("cargo", "echo \"$*\"; env | grep ^CARGO_PKG_ ; exit 7");
    let (status, stdout, stderr) = outcome(
        machine
            .cargo_vm()
            .env("CARGO_PKG_NAME", "what an outer cargo sets")
            .args(["test", "--", "idle", "--", "--nocapture"]),
    );
    assert_eq!(status, Some(7), "{stderr}");
    assert_eq!(stdout, "test --locked idle -- --nocapture\n");
    assert!(stderr.is_empty(), "{stderr}");
}

#[test]
fn the_tests_of_one_vmm_are_chosen_by_its_name_and_need_what_it_needs() {
    let machine = FakeMachine::that_builds();
    machine.script("cargo", "echo \"$*\"; exit 7");
    let test = |vmm: &str| {
        outcome(
            machine
                .cargo_vm()
                .args(["test", "--no-install", "--vmm", vmm]),
        )
    };
    // Without QEMU.
    let (status, stdout, stderr) = test("hyperlight");
    assert_eq!(status, Some(7), "{stderr}");
    assert_eq!(
        stdout,
        "test --locked --all-features --test vm -- hyperlight::\n"
    );
    let (status, stdout, stderr) = test("qemu-tcg");
    assert_eq!(status, Some(125), "{stderr}");
    assert!(stderr.contains("QEMU"), "{stderr}");
    assert!(stdout.is_empty(), "{stdout}");

    machine.script("qemu-system-x86_64", QEMU_SAYS);
    let (status, stdout, stderr) = test("qemu-tcg");
    assert_eq!(status, Some(7), "{stderr}");
    assert_eq!(
        stdout,
        "test --locked --all-features --test vm -- qemu-tcg/\n"
    );
}

/// The arguments with which the library's own tests run without metrics and trace.
const AS_IT_SHIPS: &str = "test --locked --package=dormir --lib --features=alloc";
const WITHOUT_HEAP: &str = "test --locked --package=dormir --lib --no-default-features \
     --features=embassy-time time::embassy";

#[test]
fn the_library_as_it_ships_examples_in_vms_and_models_follow_the_tests() {
    let machine = FakeMachine::that_builds();
    machine.script("qemu-system-x86_64", QEMU_SAYS);
    machine.script(
        "cargo",
        "case \"$RUSTFLAGS\" in *loom) echo \"$RUSTFLAGS $*\"; exit 7;; *) echo \"$*\";; esac",
    );
    let mut command = machine.cargo_vm();
    command.env("RUSTFLAGS", "-Cdebuginfo=1").arg("test");
    let (status, stdout, stderr) = outcome(&mut command);
    assert_eq!(status, Some(7), "{stderr}");
    let lines: Vec<_> = stdout.lines().collect();
    let [tests, as_it_ships, without_heap, examples, models] = lines[..] else {
        panic!("cargo is called five times: {stdout}")
    };
    assert_eq!(tests, "test --locked --all-features");
    assert_eq!(as_it_ships, AS_IT_SHIPS);
    assert_eq!(without_heap, WITHOUT_HEAP);
    assert!(
        examples.starts_with(
            "test --locked --release --doc --package dormir --target x86_64-unknown-none"
        ),
        "{examples}"
    );
    assert!(examples.contains("/target/guest -- src/"), "{examples}");
    assert!(examples.contains(" src/idle/halt.rs"), "{examples}");
    assert!(
        models.starts_with("-Cdebuginfo=1 --cfg=loom test --locked --target-dir /"),
        "{models}"
    );
    assert!(models.contains("/target/loom --profile=models"), "{models}");
    assert!(models.contains("--package=dormir --lib"), "{models}");
    assert!(stderr.is_empty(), "{stderr}");
}

#[test]
fn nothing_more_is_run_after_a_failure() {
    let machine = FakeMachine::that_builds();
    machine.script("qemu-system-x86_64", QEMU_SAYS);
    machine.script("cargo", "echo \"$*\"; exit 7");
    let (status, stdout, _) = outcome(machine.cargo_vm().arg("test"));
    assert_eq!(status, Some(7));
    assert_eq!(stdout, "test --locked --all-features\n");

    machine.script(
        "cargo",
        "case \"$*\" in *--lib*) exit 9;; *) echo \"$*\";; esac",
    );
    let (status, stdout, _) = outcome(machine.cargo_vm().arg("test"));
    assert_eq!(status, Some(9), "the library fails as it ships");
    assert_eq!(stdout, "test --locked --all-features\n");

    machine.script(
        "cargo",
        "case \"$*\" in *--doc*) exit 8;; *) echo \"$*\";; esac",
    );
    let (status, stdout, _) = outcome(machine.cargo_vm().arg("test"));
    assert_eq!(status, Some(8), "an example fails");
    assert_eq!(
        stdout,
        format!("test --locked --all-features\n{AS_IT_SHIPS}\n{WITHOUT_HEAP}\n"),
        "without models"
    );
}

#[test]
fn the_page_is_tested_in_a_browser_only_if_asked_for() {
    let machine = FakeMachine::that_builds();
    machine.script("qemu-system-x86_64", QEMU_SAYS);
    machine.script("cargo", "echo \"$*\"");
    let (status, stdout, stderr) = outcome(machine.cargo_vm().arg("test"));
    assert_eq!(status, Some(0), "{stderr}");
    assert!(!stdout.contains("--workspace"), "{stdout}");

    let mut refused = machine.cargo_vm();
    let (status, stdout, stderr) = outcome(refused.args(["test", "--browser", "--no-install"]));
    assert_eq!(status, Some(125), "{stderr}");
    assert!(stderr.contains("a browser is missing"), "{stderr}");
    assert!(stdout.is_empty(), "{stdout}");

    let browser = machine.script("chromium", "echo Chromium 1.2.3");
    let (status, stdout, stderr) = outcome(machine.cargo_vm().args(["test", "--browser"]));
    assert_eq!(status, Some(0), "{stderr}");
    let first = stdout.lines().next();
    let with_the_page = "test --locked --all-features --workspace --exclude=dormir-bench \
         --exclude=dormir-bench-linux";
    assert_eq!(first, Some(with_the_page));

    machine.script("chromium", "exit 3");
    let mut named = machine.cargo_vm();
    named.env("DORMIR_BROWSER", &browser);
    let (status, _, stderr) = outcome(named.args(["test", "--browser"]));
    assert_eq!(status, Some(125), "{stderr}");
    assert!(
        is_error_line(&stderr) && stderr.contains("DORMIR_BROWSER"),
        "{stderr}"
    );
}

/// If the library for guests must be built from source, examples are built with the same compiler.
#[test]
fn examples_are_built_by_the_compiler_that_builds_guests() {
    let machine = FakeMachine::new();
    machine.source();
    machine.script("ld.lld", "exit 0");
    machine.script("rustdoc", "exit 0");
    machine.script("qemu-system-x86_64", QEMU_SAYS);
    machine.script(
        "cargo",
        "case \"$*\" in *--doc*) echo \"$RUSTDOC $*\"; exit 7;; esac",
    );
    let (status, stdout, stderr) = outcome(machine.cargo_vm().arg("test"));
    assert_eq!(status, Some(7), "{stderr}");
    assert!(stdout.contains("/bin/rustdoc -Zbuild-std=core"), "{stdout}");
}

#[test]
fn a_failed_build_is_reported_in_a_sentence() {
    let machine = FakeMachine::that_builds();
    machine.script("qemu-system-x86_64", QEMU_SAYS);
    machine.script("cargo", "echo 'error[E0000]: wrong' >&2; exit 101");
    let (status, stdout, stderr) = outcome(machine.cargo_vm().args(["demo", "--vmm", "qemu-tcg"]));
    assert_eq!(status, Some(125));
    assert!(stderr.starts_with("error[E0000]: wrong\n"), "{stderr}");
    assert!(
        stderr.contains("the guest images cannot be built"),
        "{stderr}"
    );
    assert!(stdout.is_empty(), "{stdout}");
}

#[test]
fn a_cargo_that_builds_nothing_is_an_error() {
    let machine = FakeMachine::that_builds();
    machine.script("qemu-system-x86_64", QEMU_SAYS);
    machine.script("cargo", "exit 0");
    let (status, _, stderr) = outcome(machine.cargo_vm().args(["demo", "--vmm", "qemu-tcg"]));
    assert_eq!(status, Some(125));
    assert!(is_error_line(&stderr), "{stderr}");
    assert!(stderr.contains("no guest image `demo`"), "{stderr}");
}

fn a_signal_ends(verb: &[&str]) {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let machine = FakeMachine::that_builds();
        machine.script("qemu-system-x86_64", QEMU_SAYS);
        machine.script("cargo", "sleep 1000 & echo started >&2; sleep 1000");
        let (child, stderr) = machine.start(verb);
        signal_ends_all(child, stderr, signal);
    }
}

#[test]
fn a_signal_ends_the_tests_and_all_that_they_have_started() {
    a_signal_ends(&["test"]);
}

#[test]
fn a_signal_ends_a_build_and_all_that_it_has_started() {
    a_signal_ends(&["demo", "--vmm", "qemu-tcg"]);
}
