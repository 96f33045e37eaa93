//! What set-up does to a machine's packages; the package manager is a script.

use crate::support::{FakeMachine, is_error_line, outcome, text};

/// What apt prints about a `qemu-utils` that is newer than the QEMU to be installed.
const NEWER_UTILS: &str = "echo 'Remv qemu-utils [1:10.0.2+ds-2+deb13u1~bpo12+1]'";

const REPLACES_UTILS: &str = "install --yes --no-install-recommends qemu-system-x86 qemu-utils-";

const REMOVES_NOTHING: &str = "install --yes --no-install-recommends --no-remove qemu-system-x86";

/// Makes a machine without QEMU. Its apt logs its arguments, runs `simulated` for a simulation, and
/// `really` for an installation.
fn machine(simulated: &str, really: &str) -> FakeMachine {
    let machine = FakeMachine::that_builds();
    scripts(&machine, simulated, really);
    machine.script("cargo", "exit 0");
    machine
}

fn scripts(machine: &FakeMachine, simulated: &str, really: &str) {
    let (log, bin) = (machine.log(), machine.bin());
    let apt = format!(
        "echo \"$*\" >>'{}'\ncase \"$*\" in\n*--simulate*) {simulated};;\ninstall*) \
         {really};;\nesac",
        text(&log)
    );
    machine.script("apt-get", &apt);
    let sudo = format!("PATH='{}':$PATH\nexec \"$@\"", text(&bin));
    machine.script("sudo", &sudo);
}

/// Returns the script that installs QEMU.
fn installed(machine: &FakeMachine) -> String {
    let qemu = text(&machine.bin().join("qemu-system-x86_64")).to_owned();
    format!(
        "printf '#!/bin/sh\\necho QEMU emulator version 9.9.9\\n' >'{qemu}'; /bin/chmod +x '{qemu}'"
    )
}

/// Returns what apt was asked to do, without simulations.
fn done(machine: &FakeMachine) -> Vec<String> {
    let logged = machine.logged();
    let lines = logged.lines().filter(|line| !line.contains("--simulate"));
    lines.map(str::to_owned).collect()
}

#[test]
fn no_failure_leads_to_a_removal() {
    let machine = machine("exit 0", "echo 'E: Failed to fetch it'; exit 100");
    let (status, _, stderr) = outcome(machine.cargo_vm().arg("test"));
    assert_eq!(status, Some(125), "{stderr}");
    assert_eq!(done(&machine), ["update", REMOVES_NOTHING]);
    assert!(stderr.contains("E: Failed to fetch it"), "{stderr}");
    assert!(
        is_error_line(stderr.lines().last().unwrap_or("")),
        "{stderr}"
    );
}

#[test]
fn a_newer_qemu_utils_goes_for_qemu_and_is_named_before() {
    let machine = machine(NEWER_UTILS, "exit 3");
    let really = installed(&machine);
    scripts(&machine, NEWER_UTILS, &really);
    machine.script(
        "dpkg-query",
        "case \"$*\" in *' qemu-utils') echo qemu;; *) exit 1;; esac",
    );
    let (_, stdout, _) = outcome(machine.cargo_vm().arg("doctor"));
    assert!(
        stdout.contains("would remove qemu-utils 1:10.0.2+ds-2+deb13u1~bpo12+1"),
        "{stdout}"
    );
    assert!(done(&machine).is_empty());

    let (status, _, stderr) = outcome(machine.cargo_vm().arg("test"));
    assert_eq!(status, Some(0), "{stderr}");
    assert_eq!(done(&machine), ["update", REPLACES_UTILS]);
    assert!(
        stderr.contains("in place of qemu-utils 1:10.0.2"),
        "{stderr}"
    );
}

#[test]
fn a_package_of_another_source_or_of_none_that_is_known_stays() {
    for source in ["echo libvirt", "exit 1"] {
        let machine = machine(NEWER_UTILS, "exit 3");
        machine.script("dpkg-query", source);
        let (status, _, stderr) = outcome(machine.cargo_vm().arg("test"));
        assert_eq!(status, Some(125), "{stderr}");
        assert_eq!(done(&machine), ["update"], "{source}");
        let last = stderr.lines().last().unwrap_or("");
        assert!(
            is_error_line(last) && last.contains("would remove qemu-utils"),
            "{stderr}"
        );
    }
}

#[test]
fn a_lock_that_another_holds_for_a_moment_is_waited_for() {
    let machine = machine("exit 0", "exit 3");
    let held = format!(
        "if [ $(grep -c no-remove '{}') = 1 ]; then\n\
         echo 'E: Could not get lock /l. It is held by process 7 (apt-get)' >&2; exit 100; fi",
        text(&machine.log())
    );
    let really = format!("{held}; {}", installed(&machine));
    scripts(&machine, "exit 0", &really);
    let (status, _, stderr) = outcome(machine.cargo_vm().arg("test"));
    assert_eq!(status, Some(0), "{stderr}");
    assert_eq!(done(&machine), ["update", REMOVES_NOTHING, REMOVES_NOTHING]);
    assert!(
        stderr.contains("waiting for the package manager"),
        "{stderr}"
    );
}

#[test]
fn a_demo_first_says_what_it_installs_and_how_long_that_takes() {
    let machine = FakeMachine::new();
    machine.script(
        "rustup",
        &format!("mkdir -p '{}'", text(&machine.library())),
    );
    let qemu = text(&machine.bin().join("qemu-system-x86_64")).to_owned();
    machine.script(
        "apt-get",
        &format!(
            "case \"$*\" in *--yes*) echo '#!/bin/sh\necho QEMU emulator version 9.9.9' >'{qemu}'; chmod +x '{qemu}';; \
             esac"
        ),
    );
    machine.script(
        "sudo",
        &format!("PATH='{}':$PATH\nexec \"$@\"", text(&machine.bin())),
    );
    machine.script("cargo", "exit 101");
    let (_, stdout, stderr) = outcome(machine.cargo_vm().args(["demo", "--vmm", "qemu-tcg"]));
    let lines: Vec<&str> = stderr.lines().collect();
    let [what, target, qemu, steps @ ..] = &lines[..] else {
        panic!("what is missing, and the steps: {stderr}")
    };
    assert!(what.contains("takes about 35 s"), "{stderr}");
    assert!(
        target.contains("rustup target add") && target.ends_with("about 10 s"),
        "{stderr}"
    );
    assert!(
        qemu.contains(" qemu-system-x86`") && qemu.ends_with("about 15 s"),
        "{stderr}"
    );
    assert_eq!(steps.len(), 4, "three steps, and cargo's failure: {stderr}");
    assert!(stdout.is_empty(), "{stdout}");
}
