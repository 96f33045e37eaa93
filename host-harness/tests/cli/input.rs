//! The command line: help, bad input, and what does not need a guest.

use crate::support::{FakeMachine, cargo_vm, is_error_line, outcome, std_command};
use std::{
    process::Stdio,
    time::{Duration, Instant},
};

/// Once built, a wrong file must be refused within this time.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);

#[test]
fn help_names_the_verbs_and_the_command_as_it_is_called() {
    let (status, stdout, _) = outcome(cargo_vm().arg("--help"));
    assert_eq!(status, Some(0));
    assert!(stdout.contains("Usage: cargo vm <COMMAND>"), "{stdout}");
    for verb in ["doctor", "bench", "demo", "run", "test"] {
        assert!(stdout.contains(&format!("\n  {verb} ")), "{verb}: {stdout}");
    }
}

#[test]
fn every_verb_has_a_help_with_units_and_defaults() {
    for (verb, words) in [
        ("doctor", &["what each lack costs", "Installs nothing"][..]),
        (
            "bench",
            &[
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
                "hyperlight-interrupts",
                "tick-processor",
                "[default: 100]",
                "-icount",
                "the same in every run",
                "wake_all_poll_all",
                "embassy",
            ],
        ),
        (
            "demo",
            &["--no-install", "--list", "[default: all]", "qemu-tcg"],
        ),
        (
            "run",
            &[
                "in seconds",
                "[default: 60]",
                "in MiB",
                "[default: 64]",
                "[default: 16]",
                "[default: q35]",
                "timer=pit",
                "124",
            ],
        ),
        (
            "test",
            &[
                "--no-install",
                "--browser",
                "cargo test",
                "loom",
                "left out",
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
fn what_is_not_understood_is_named() {
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
        ("bench --hyperlight --samples -1", "-1 is not in 1..=100000"),
        ("run guest --timeout soon", "'soon'"),
        ("run guest --memory 0", "'0'"),
        ("run guest --memory 1000000", "'1000000'"),
        ("run guest --console-limit -1", "'-1'"),
        ("run guest --fast", "'--fast'"),
        ("demo --fast", "'--fast'"),
        ("bench --fast", "'--fast'"),
        ("bench --counts --json", "'--json <FILE>'"),
        ("bench --json counts.json", "--counts"),
        ("bench --counts --latency", "--latency"),
        ("bench --latency --vmm vmware", "`vmware`"),
        ("bench --vmm kvm", "--latency"),
        ("bench --full", "--latency"),
        ("bench --counts --full", "--full"),
        ("bench --hyperlight --full", "--full"),
        ("bench --hyperlight --latency", "--latency"),
        ("bench --hyperlight --vmm hyperlite", "`hyperlite`"),
        ("bench --hyperlight --samples 0", "'0'"),
        ("bench --hyperlight --samples many", "'many'"),
        ("bench --latency --samples 5", "--samples"),
        ("bench --samples 5", "--hyperlight"),
        ("bench --hyperlight --compare a.json b.json", "--compare"),
        ("bench --compare before.json", "--compare"),
        ("bench --latency --compare a.json b.json", "--compare"),
        ("bench --html page.html", "--from <FILE>"),
        ("bench --counts --html page.html", "--from <FILE>"),
        ("bench --from run.json", "--html <FILE>"),
        ("bench --latency --from run.json --html page.html", "--from"),
        ("bench --from run.json --html page.html --full", "--latency"),
        (
            "bench --from run.json --html page.html --json a.json",
            "--latency",
        ),
        (
            "bench --compare a.json b.json --html page.html",
            "--from <FILE>",
        ),
        ("test --browser -- filter", "--browser"),
        ("bench --compare a.json b.json --full", "--full"),
        ("bench --compare a.json b.json --samples 5", "--samples"),
        (
            "bench --from run.json --html page.html --samples 5",
            "--samples",
        ),
        ("bench --fail-above 5", "--compare"),
        ("bench --counts --fail-above 5", "--fail-above"),
        ("bench --latency --fail-above 5", "--fail-above"),
        (
            "bench --from run.json --html page.html --fail-above 5",
            "--fail-above",
        ),
        ("bench --compare a.json b.json --fail-above -5", "-5"),
        ("bench --compare a.json b.json --fail-above much", "`much`"),
        ("test filter", "'filter'"),
        ("test --vmm vmware", "`vmware`"),
        ("test --vmm hyperlight -- --lib", "--vmm"),
        ("doctor --no-install", "'--no-install'"),
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
        ("run guest --vmm kvm --machine q35", "--machine"),
        ("demo --vmm kvm --machine microvm", "--machine"),
        ("demo basic no-such-demo", "`no-such-demo`"),
        ("demo --list no-such-demo", "`no-such-demo`"),
        ("bench --hyperlight --vmm kvm", "under kvm"),
        ("bench --latency --vmm hyperlight", "--hyperlight"),
        ("bench --counts --vmm kvm", "--counts"),
    ] {
        let (status, stdout, stderr) = outcome(cargo_vm().args(line.split_whitespace()));
        assert_eq!(status, Some(125), "{line}: {stderr}");
        assert!(is_error_line(&stderr), "{line}: {stderr}");
        assert!(stderr.contains(named), "{line}: {stderr}");
        assert!(stdout.is_empty(), "{line}: {stdout}");
    }
}

#[test]
fn a_file_that_is_no_guest_is_refused_at_once_under_every_vmm() {
    let this_program = env!("CARGO_BIN_EXE_cargo-vm");
    for file in ["/no/such/guest", "/", "/dev/null", this_program] {
        for vmm in ["kvm", "qemu-kvm", "qemu-tcg"] {
            let start = Instant::now();
            let (status, stdout, stderr) = outcome(cargo_vm().args(["run", file, "--vmm", vmm]));
            assert!(start.elapsed() < REFUSED_WITHIN, "{file} under {vmm}");
            assert_eq!(status, Some(125), "{file} under {vmm}: {stderr}");
            assert!(is_error_line(&stderr), "{file} under {vmm}: {stderr}");
            assert!(stderr.contains(file), "{file} under {vmm}: {stderr}");
            assert!(stdout.is_empty(), "{file} under {vmm}: {stdout}");
        }
    }
}

#[test]
fn a_bench_without_a_kind_names_the_kinds() {
    let machine = FakeMachine::new();
    let (status, stdout, stderr) = outcome(machine.cargo_vm().arg("bench"));
    assert_eq!(status, Some(125), "{stderr}");
    assert!(is_error_line(&stderr), "{stderr}");
    assert!(stderr.contains("--counts"), "{stderr}");
    assert!(stderr.contains("--latency"), "{stderr}");
    assert!(stderr.contains("--hyperlight"), "{stderr}");
    assert!(stdout.is_empty(), "{stdout}");
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
fn an_output_that_cannot_be_written_is_said_and_no_success() {
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
fn without_anybody_to_complain_to_the_status_is_the_same() {
    let full = std::fs::File::create("/dev/full").expect("Linux has it");
    let status = std_command()
        .args(["run", "/no/such/guest"])
        .stderr(full)
        .status()
        .expect("it runs");
    assert_eq!(status.code(), Some(125));
}

#[test]
fn an_output_that_nobody_reads_ends_the_command_quietly() {
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
