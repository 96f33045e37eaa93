//! The command line: help, bad input, and everything that needs no guest.

use crate::support::{FakeMachine, cargo_vm, is_error_line, outcome, std_command};
use std::{
    process::Stdio,
    time::{Duration, Instant},
};

/// The time within which a bad file must be refused.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);

#[test]
fn help_names_the_verbs_and_the_command_as_it_is_called() {
    let (status, stdout, _) = outcome(cargo_vm().arg("--help"));
    assert_eq!(status, Some(0));
    assert!(stdout.contains("Usage: cargo vm <COMMAND>"), "{stdout}");
    for verb in [
        "doctor",
        "bench",
        "demo",
        "new",
        "promises",
        "run",
        "runner",
        "soak",
        "soundness",
        "test",
    ] {
        assert!(stdout.contains(&format!("\n  {verb} ")), "{verb}: {stdout}");
    }
}

#[test]
fn every_verb_has_a_help_with_units_and_defaults() {
    for (verb, words) in [
        ("doctor", &["what each lack costs", "Installs nothing"][..]),
        (
            "demo",
            &[
                "--no-install",
                "--list",
                "[default: all but http]",
                "qemu-tcg",
            ],
        ),
        (
            "new",
            &["--template", "--path", "--git", "not published yet"],
        ),
        ("promises", &["[default: all]", "--record", "--no-install"]),
        (
            "run",
            &[
                "in seconds",
                "[default: 60; 86400",
                "in MiB",
                "[default: 64]",
                "[default: 16]",
                "[default: q35]",
                "timer=pit",
                "--gdb",
                "[default: 1234",
                "--stdin=raw",
                "124",
            ],
        ),
        ("runner", &["cargo test", "--nocapture", "--out", "101"]),
        (
            "soak",
            &["random-calls", "[default: 100000 calls", "[default: 60]"],
        ),
        (
            "test",
            &[
                "--no-install",
                "--browser",
                "cargo test",
                "loom",
                "skipped",
                "--vmm",
                "hyperlight-interrupts",
            ],
        ),
    ] {
        let (status, stdout, _) = outcome(cargo_vm().args([verb, "--help"]));
        assert_eq!(status, Some(0), "{verb}");
        assert!(
            stdout.contains(&format!("Usage: cargo vm {verb}")),
            "{stdout}"
        );
        for word in words {
            assert!(stdout.contains(word), "{verb}: {word}: {stdout}");
        }
    }
}

#[test]
fn invalid_arguments_are_named() {
    for (line, named) in [
        ("", "Usage: cargo vm"),
        ("dance", "'dance'"),
        ("run", "<ELF>"),
        ("run guest --vmm vmware", "'vmware'"),
        ("run guest --machine isapc", "'isapc'"),
        ("run guest --timeout 0", "'0'"),
        ("run guest --timeout -1", "-1 is not in 1..=86400"),
        ("run guest --memory -1", "-1 is not in 2..=61440"),
        ("run guest --console-limit -1", "-1 is not in 1..="),
        ("run guest --timeout soon", "'soon'"),
        ("run guest --memory 0", "'0'"),
        ("run guest --memory 1000000", "'1000000'"),
        ("run guest --console-limit -1", "'-1'"),
        ("run guest --stdin=keys", "'keys'"),
        ("run guest --gdb 65536", "65536 is not in 0..=65535"),
        ("run guest --gdb=soon", "'soon'"),
        ("run --gdb", "<ELF>"),
        ("run guest --fast", "'--fast'"),
        ("runner guest --fast", "Usage: cargo vm runner"),
        ("promises no-bugs", "there is no promise `no-bugs`"),
        ("promises --list --record", "--record"),
        ("soak", "<CHECK>"),
        ("soak calls", "'calls'"),
        ("soak random-calls --count 0", "0 is not in 1..="),
        ("soak random-calls --vmm vmware", "`vmware`"),
        ("soak random-calls --vmm kvm", "pass hyperlight or"),
        ("soak devices --vmm hyperlight", "pass kvm, or one of"),
        (
            "soak devices --minutes 5",
            "takes no --minutes: pass --count",
        ),
        (
            "soak everything --count 5",
            "takes no --count: pass --minutes",
        ),
        ("soak everything --minutes 0", "0 is not in 1.."),
        (
            "soak everything --timeout 5",
            "takes no --timeout: pass --minutes",
        ),
        ("fuzz elf --minutes 0", "pass more, or --keep"),
        ("mutants --file src/nosuch.rs", "such as src/event.rs"),
        (
            "mutants --machine --file src/event.rs",
            "such as src/platform",
        ),
        ("soundness valgrind", "'valgrind'"),
        (
            "soundness miri all",
            "has no tests `all`: pass one of timers, executor, virtio",
        ),
        ("demo --fast", "'--fast'"),
        ("test --browser -- filter", "--browser"),
        ("test filter", "'filter'"),
        ("test --vmm vmware", "`vmware`"),
        ("test --vmm hyperlight -- --lib", "--vmm"),
        ("doctor --no-install", "'--no-install'"),
    ] {
        let (status, stdout, stderr) = outcome(cargo_vm().args(line.split_whitespace()));
        // Not clap's own status, 2: a guest may end with it.
        assert_eq!(status, Some(125), "{line}: {stderr}");
        assert!(stderr.contains(named), "{line}: {stderr}");
        assert!(stdout.is_empty(), "{line}: {stdout}");
    }
}

#[test]
fn contradictory_arguments_are_refused_in_a_sentence() {
    for (line, named) in [
        ("run guest --vmm kvm --machine q35", "--machine"),
        ("demo --vmm kvm --machine microvm", "--machine"),
        ("run guest answer --vmm hyperlight --gdb", "--gdb"),
        ("run guest answer --vmm hyperlight --stdin", "--stdin"),
        ("demo basic no-such-demo", "`no-such-demo`"),
        ("demo --list no-such-demo", "`no-such-demo`"),
    ] {
        let (status, stdout, stderr) = outcome(cargo_vm().args(line.split_whitespace()));
        assert_eq!(status, Some(125), "{line}: {stderr}");
        assert!(is_error_line(&stderr), "{line}: {stderr}");
        assert!(stderr.contains(named), "{line}: {stderr}");
        assert!(stdout.is_empty(), "{line}: {stdout}");
    }
}

#[test]
fn a_debuggers_port_that_is_in_use_is_named() {
    let other = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = other.local_addr().expect("an address").port().to_string();
    for vmm in ["kvm", "qemu-tcg"] {
        let line = ["run", "--gdb", &port, "guest", "--vmm", vmm];
        let (status, stdout, stderr) = outcome(cargo_vm().args(line));
        assert_eq!(status, Some(125), "{vmm}: {stderr}");
        assert!(is_error_line(&stderr), "{vmm}: {stderr}");
        assert!(stderr.contains(&format!("port {port}")), "{stderr}");
        assert!(stdout.is_empty(), "{vmm}: {stdout}");
    }
}

#[test]
fn a_file_that_is_not_a_guest_is_refused_at_once_under_every_vmm() {
    for file in ["/no/such/guest", "/", "/dev/null", crate::PROGRAM] {
        for (verb, vmm) in [
            ("run", "kvm"),
            ("run", "qemu-kvm"),
            ("run", "qemu-tcg"),
            // As cargo would call it.
            ("runner", "qemu-tcg"),
        ] {
            let start = Instant::now();
            let (status, stdout, stderr) = outcome(cargo_vm().args([verb, file, "--vmm", vmm]));
            assert!(start.elapsed() < REFUSED_WITHIN, "{file} under {vmm}");
            assert_eq!(status, Some(125), "{file} under {vmm}: {stderr}");
            assert!(is_error_line(&stderr), "{file} under {vmm}: {stderr}");
            assert!(stderr.contains(file), "{file} under {vmm}: {stderr}");
            assert!(stdout.is_empty(), "{file} under {vmm}: {stdout}");
        }
    }
}

#[test]
fn the_demos_are_listed_without_setting_anything_up() {
    let machine = FakeMachine::new();
    let (status, stdout, stderr) = outcome(machine.cargo_vm().args(["demo", "--list"]));
    assert_eq!(status, Some(0), "{stderr}");
    let names: Vec<_> = stdout
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(names.starts_with(&["basic", "basic-busy"]), "{stdout}");
    assert!(stderr.is_empty(), "{stderr}");
}

#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let full = std::fs::File::create("/dev/full").expect("Linux has it");
    let output = std_command()
        .args(["demo", "--list"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(125));
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert!(is_error_line(&stderr), "{stderr}");
    assert!(stderr.contains("standard output"), "{stderr}");
}

#[test]
fn without_a_standard_error_the_status_is_the_same() {
    let full = std::fs::File::create("/dev/full").expect("Linux has it");
    let status = std_command()
        .args(["run", "/no/such/guest"])
        .stderr(full)
        .status()
        .expect("it runs");
    assert_eq!(status.code(), Some(125));
}

#[test]
fn a_closed_output_ends_the_command_quietly() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = std_command()
        .args(["demo", "--list"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(141));
    assert!(
        output.stderr.is_empty(),
        "{:?}",
        String::from_utf8(output.stderr)
    );
}
