//! The command line: help, bad input, and what is refused before anything is done.

use crate::support::{FakeMachine, cargo_vm, is_error_line, outcome};

#[test]
fn the_help_names_every_option_with_units_and_defaults() {
    let words = &[
        "--no-install",
        "--counts",
        "--json <FILE>",
        "--latency",
        "--compare <BEFORE> <AFTER>",
        "--html <FILE>",
        "--svg <FILE>",
        "--from <FILE>",
        "one file that needs no other",
        "--fail-above <PERCENT>",
        "2,000 samples",
        "qemu-kvm/microvm",
        "--hyperlight",
        "--native",
        "--io",
        "--rounds <N>",
        "--seconds <N>",
        "--linux",
        "--splice",
        "counts-tasks",
        "hyperlight-interrupts",
        "tick-processor",
        "[default: 100]",
        "-icount",
        "the same in every run",
        "wake_all_poll_all",
        "embassy",
    ];
    let (status, stdout, _) = outcome(cargo_vm().arg("--help"));
    assert_eq!(status, Some(0));
    assert!(stdout.contains("Usage: cargo vm bench"), "{stdout}");
    for word in words {
        assert!(stdout.contains(word), "{word}: {stdout}");
    }
}

#[test]
fn what_is_not_understood_is_named() {
    for (line, named) in [
        ("--hyperlight --samples -1", "-1 is not in 1..=100000"),
        ("--fast", "'--fast'"),
        ("--counts --json", "'--json <FILE>'"),
        ("--json counts.json", "--counts"),
        ("--counts --latency", "--latency"),
        ("--latency --vmm vmware", "`vmware`"),
        ("--vmm kvm", "--latency"),
        ("--full", "--latency"),
        ("--counts --full", "--full"),
        ("--hyperlight --full", "--full"),
        ("--io --full", "--full"),
        ("--hyperlight --latency", "--latency"),
        ("--hyperlight --vmm hyperlite", "`hyperlite`"),
        ("--hyperlight --samples 0", "'0'"),
        ("--hyperlight --samples many", "'many'"),
        ("--latency --samples 5", "--samples"),
        ("--samples 5", "--hyperlight"),
        ("--hyperlight --compare a.json b.json", "--compare"),
        ("--compare before.json", "--compare"),
        ("--latency --compare a.json b.json", "--compare"),
        ("--html page.html", "--from <FILE>"),
        ("--counts --html page.html", "--from <FILE>"),
        ("--from run.json", "--html <FILE>"),
        ("--latency --from run.json --html page.html", "--from"),
        ("--from run.json --html page.html --full", "--latency"),
        ("--compare a.json b.json --full", "--full"),
        ("--compare a.json b.json --samples 5", "--samples"),
        ("--fail-above 5", "--compare"),
        ("--check", "--splice"),
        ("--splice --counts", "--splice"),
        ("--splice --json a.json", "--splice"),
        ("--counts --check", "--check"),
        ("--native --counts", "--native"),
        ("--io --counts", "--io"),
        ("--io --rounds 0", "0 is not in 1..=100"),
        ("--io --seconds 61", "61 is not in 1..=60"),
        ("--io --samples 5", "--samples"),
        ("--latency --rounds 2", "--rounds"),
        ("--rounds 2", "--io"),
        ("--counts --linux", "--linux"),
        ("--seconds 2 --compare a.json b.json", "--seconds"),
        ("--native --html page.html", "--from <FILE>"),
        ("--counts --fail-above 5", "--fail-above"),
        ("--latency --fail-above 5", "--fail-above"),
        ("--compare a.json b.json --fail-above -5", "-5"),
        ("--compare a.json b.json --fail-above much", "`much`"),
        (
            "--from run.json --html page.html --json a.json",
            "--latency",
        ),
        ("--compare a.json b.json --html page.html", "--from <FILE>"),
        ("--from run.json --html page.html --samples 5", "--samples"),
        (
            "--from run.json --html page.html --fail-above 5",
            "--fail-above",
        ),
    ] {
        let (status, stdout, stderr) = outcome(cargo_vm().args(line.split_whitespace()));
        // Not clap's own status, 2: a guest may end with that.
        assert_eq!(status, Some(125), "{line}: {stderr}");
        assert!(stderr.contains(named), "{line}: {stderr}");
        assert!(stdout.is_empty(), "{line}: {stdout}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_in_a_sentence() {
    for (line, named) in [
        ("--hyperlight --vmm kvm", "under kvm"),
        ("--latency --vmm hyperlight", "--hyperlight"),
        ("--counts --vmm kvm", "--counts"),
        ("--io --vmm hyperlight", "--io is not measured"),
    ] {
        let (status, stdout, stderr) = outcome(cargo_vm().args(line.split_whitespace()));
        assert_eq!(status, Some(125), "{line}: {stderr}");
        assert!(is_error_line(&stderr), "{line}: {stderr}");
        assert!(stderr.contains(named), "{line}: {stderr}");
        assert!(stdout.is_empty(), "{line}: {stdout}");
    }
}

#[test]
fn a_command_line_without_a_kind_names_the_kinds() {
    let machine = FakeMachine::new();
    let (status, stdout, stderr) = outcome(&mut machine.cargo_vm());
    assert_eq!(status, Some(125), "{stderr}");
    assert!(is_error_line(&stderr), "{stderr}");
    assert!(stderr.contains("--counts"), "{stderr}");
    assert!(stderr.contains("--latency"), "{stderr}");
    assert!(stderr.contains("--hyperlight"), "{stderr}");
    assert!(stderr.contains("--io"), "{stderr}");
    assert!(stdout.is_empty(), "{stdout}");
}

#[test]
fn what_is_missing_is_named_where_nothing_may_be_installed() {
    let machine = FakeMachine::new();
    for program in ["rustup", "apt-get", "sudo"] {
        machine.script(program, "exit 1");
    }
    let (status, stdout, stderr) = outcome(machine.cargo_vm().args(["--counts", "--no-install"]));
    assert_eq!(status, Some(125), "{stderr}");
    for command in ["`rustup target add", " qemu-system-x86`"] {
        assert!(stderr.contains(command), "it names all at once: {stderr}");
    }
    assert!(stdout.is_empty(), "{stdout}");

    let machine = FakeMachine::that_builds();
    machine.script("apt-get", "exit 1");
    machine.script("sudo", "exit 1");
    let (status, _, stderr) = outcome(machine.cargo_vm().args(["--counts", "--no-install"]));
    assert_eq!(status, Some(125), "{stderr}");
    assert!(is_error_line(&stderr), "{stderr}");
    assert!(stderr.contains("qemu-system-x86`"), "{stderr}");
}

#[test]
fn linux_that_is_asked_for_and_cannot_be_had_is_named() {
    let ask = |machine: &FakeMachine, line: &str| {
        let mut command = machine.cargo_vm();
        command.args(["--io", "--linux", "--no-install"]);
        let (status, stdout, stderr) = outcome(command.args(line.split_whitespace()));
        assert_eq!(status, Some(125), "{stderr}");
        assert!(is_error_line(&stderr) && stdout.is_empty(), "{stderr}");
        stderr
    };
    let machine = FakeMachine::that_builds();
    machine.script("qemu-system-x86_64", "echo QEMU emulator version 7.2.22");
    let tcg = "--vmm qemu-tcg/q35";
    machine.script("apt-cache", "exit 100");
    let missing = ask(&machine, tcg);
    assert!(
        missing.contains("no package linux-image-cloud-amd64"),
        "{missing}"
    );
    machine.script("apt-cache", "echo 'Depends: linux-image-none (= 0.0.0)'");
    machine.script("apt-get", "echo 'E: gone' >&2; exit 100");
    let gone = ask(&machine, tcg);
    for part in ["linux-image-none", "(E: gone)", "run `apt-get update`"] {
        assert!(gone.contains(part), "{part}: {gone}");
    }
}
