//! `cargo vm bench`, as far as it is this command's: the program that measures is built, and takes
//! over.

use crate::{
    signals::signal_ends_all,
    support::{FakeMachine, is_error_line, outcome, text},
};
use rustix::process::Signal;
use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

/// A machine whose cargo builds a script with this text as the program that measures.
fn machine_with(program: &str) -> FakeMachine {
    let machine = FakeMachine::new();
    let program = machine.script("measure", program);
    let target = r#"{"kind":["bin"],"crate_types":["bin"],"name":"dormir-measure","src_path":"/a","edition":"2024"}"#;
    let profile =
        r#"{"opt_level":"0","debug_assertions":true,"overflow_checks":true,"test":false}"#;
    let message = format!(
        r#"{{"reason":"compiler-artifact","package_id":"m","target":{target},"profile":{profile},"features":[],"filenames":[],"executable":"{}","fresh":true}}"#,
        text(&program)
    );
    let log = machine.log();
    machine.script(
        "cargo",
        &format!("echo $* >>'{}'; echo '{message}'", text(&log)),
    );
    machine
}

#[test]
fn the_program_that_measures_is_built_and_takes_over() {
    let machine = machine_with("echo \"measured: $*\"; echo sentence >&2; exit 7");
    for arguments in [&["--counts", "--json", "a b"][..], &["--help"], &[]] {
        let mut command = machine.cargo_vm();
        let (status, stdout, stderr) = outcome(command.arg("bench").args(arguments));
        assert_eq!(status, Some(7), "{stderr}");
        assert_eq!(stdout, format!("measured: {}\n", arguments.join(" ")));
        assert!(stderr.ends_with("sentence\n"), "{stderr}");
    }
    for line in machine.logged().lines() {
        assert!(
            line.starts_with("build --locked --package dormir-measure "),
            "{line}"
        );
    }
}

/// `cargo vm demo` on a fresh machine waits for nothing that only draws or computes figures.
#[test]
fn only_the_program_that_measures_depends_on_what_it_draws_and_computes_with() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = |package: &str| {
        let output = std::process::Command::new(&cargo)
            .args([
                "tree",
                "--locked",
                "--edges",
                "normal,build",
                "--prefix",
                "none",
            ])
            .args(["--package", package])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    };
    let (harness, measure) = (tree("dormir-harness"), tree("dormir-measure"));
    for name in [
        "plotters",
        "maud",
        "hdrhistogram",
        "rand_distr",
        "indicatif",
    ] {
        let is_in = |tree: &str| {
            tree.lines()
                .any(|line| line.starts_with(&format!("{name} ")))
        };
        assert!(!is_in(&harness) && is_in(&measure), "{name}");
    }
}

#[test]
fn what_cannot_be_built_is_said_in_a_sentence() {
    for (cargo, named) in [
        ("echo 'error[E0000]: wrong' >&2; exit 101", "says above why"),
        ("exit 0", "no program `dormir-measure`"),
    ] {
        let machine = FakeMachine::new();
        machine.script("cargo", cargo);
        let (status, stdout, stderr) = outcome(machine.cargo_vm().args(["bench", "--counts"]));
        assert_eq!(status, Some(125), "{stderr}");
        let last = stderr.lines().last().expect("a sentence");
        assert!(is_error_line(last) && last.contains(named), "{stderr}");
        assert!(stdout.is_empty(), "{stdout}");
    }
}

#[test]
fn a_signal_ends_its_build() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let machine = FakeMachine::new();
        machine.script("cargo", "sleep 1000 & echo started >&2; sleep 1000");
        let mut child = machine
            .std_command()
            .args(["bench", "--counts"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        // Before it may stand that something is built.
        while line != "started\n" {
            line.clear();
            assert_ne!(
                stderr.read_line(&mut line).expect("text"),
                0,
                "cargo starts"
            );
        }
        signal_ends_all(child, stderr, signal);
    }
}
