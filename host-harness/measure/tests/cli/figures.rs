//! Files of figures: those that are read, and those that are to be written.

use crate::support::{FakeMachine, cargo_vm, is_error_line, outcome, text};
use std::time::{Duration, Instant};

#[test]
fn files_that_cannot_be_compared_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file is written");
        path.to_str().expect("text").to_owned()
    };
    let counts = file("counts.json", r#"{"schema": 1, "counts": []}"#);
    let newer = file("newer.json", r#"{"schema": 1000, "kind": "latency"}"#);
    let broken = file("broken.json", r#"{"schema": 1"#);
    let gone = file("gone.json", "");
    std::fs::remove_file(&gone).expect("it was there");
    for (name, reason) in [
        (&counts, "another kind"),
        (&newer, "schema 1000"),
        (&broken, "no JSON"),
        (&gone, "cannot be read"),
    ] {
        let (status, stdout, stderr) = outcome(cargo_vm().args(["--compare", name, name]));
        assert_eq!(status, Some(125), "{name}: {stderr}");
        assert!(is_error_line(&stderr), "{name}: {stderr}");
        assert!(
            stderr.contains(name.as_str()) && stderr.contains(reason),
            "{stderr}"
        );
        assert!(stdout.is_empty(), "{name}: {stdout}");
    }
}

#[test]
fn a_file_without_end_is_refused() {
    for line in [
        "--compare /dev/zero /dev/zero",
        "--from /dev/zero --html /tmp/never-written.html",
    ] {
        let start = Instant::now();
        let (status, _, stderr) = outcome(cargo_vm().args(line.split(' ')));
        assert!(start.elapsed() < Duration::from_secs(20), "{line}");
        assert_eq!(status, Some(125), "{line}: {stderr}");
        assert!(is_error_line(&stderr), "{line}: {stderr}");
        assert!(
            stderr.contains("/dev/zero cannot be read (it has more than"),
            "{stderr}"
        );
    }
}

#[test]
fn names_and_numbers_of_a_file_do_no_harm() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file is written");
        path.to_str().expect("text").to_owned()
    };
    let painted = latencies("[[1, 1]]", "[[1, 1]]").replace("\"kvm\"", "\"\\u001b[2Jkvm\"");
    let painted = file("painted.json", &painted);
    let (status, stdout, stderr) = outcome(cargo_vm().args(["--compare", &painted, &painted]));
    assert_eq!(status, Some(0), "{stderr}");
    assert!(
        stdout.contains("\\u{1b}[2Jkvm") && !stdout.contains('\x1b'),
        "{stdout:?}"
    );

    let most = u64::MAX;
    let counts = format!("[[1, {most}], [2, {most}], [3, 1]]");
    let many = file("many.json", &latencies(&counts, &counts));
    let page = text(&folder.path().join("page.html")).to_owned();
    for arguments in [
        ["--compare", &many, &many].as_slice(),
        &["--from", &many, "--html", &page],
    ] {
        let (status, _, stderr) = outcome(cargo_vm().args(arguments));
        assert_eq!(status, Some(125), "{stderr}");
        assert!(
            is_error_line(&stderr) && stderr.contains("more values"),
            "{stderr}"
        );
    }
}

/// A file of latencies: those of the floor, and those of dormir.
fn latencies(floor: &str, dormir: &str) -> String {
    let cell = |runtime: &str, histogram: &str| {
        format!(
            r#"{{"vmm": "kvm", "timer": "pit", "idle": "halt", "load": "none", "path": "deadline",
                 "runtime": "{runtime}", "tsc_hz": 1, "missed": 0, "early": 0, "uncertainty_ns": 0,
                 "spans": [{{"to": "poll", "histogram_ns": {histogram}}}]}}"#
        )
    };
    format!(
        r#"{{"schema": 1, "kind": "latency", "host": {{}}, "versions": {{}}, "left_out": [],
             "cells": [{}, {}]}}"#,
        cell("floor", floor),
        cell("dormir", dormir)
    )
}

#[test]
fn a_comparison_fails_only_where_that_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = |name: &str, dormir: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, latencies("[[100, 500]]", dormir)).expect("a file is written");
        path.to_str().expect("text").to_owned()
    };
    let before = file("before.json", "[[200, 500]]");
    let after = file("after.json", "[[300, 500]]");
    let empty = file("empty.json", "[]");
    for (first, second, allowed, expected) in [
        (&before, &after, None, 0),
        (&before, &after, Some("40"), 1),
        (&before, &after, Some("60"), 0),
        (&after, &before, Some("0"), 0),
    ] {
        let allowed = allowed.map(|percent| ["--fail-above", percent]);
        let arguments = ["--compare", first, second];
        let arguments = arguments.into_iter().chain(allowed.into_iter().flatten());
        let (status, stdout, stderr) = outcome(cargo_vm().args(arguments));
        assert_eq!(status, Some(expected), "{allowed:?}: {stderr}");
        assert!(stdout.contains("| dormir "), "{stdout}");
        assert_eq!(
            stderr.contains("slower by +50.0 %"),
            expected == 1,
            "{stderr}"
        );
    }
    let (status, _, stderr) = outcome(cargo_vm().args(["--compare", &before, &empty]));
    assert_eq!(status, Some(125), "{stderr}");
    assert!(
        stderr.contains("empty.json") && stderr.contains("without values"),
        "{stderr}"
    );
}

#[test]
fn figures_that_could_not_be_written_are_refused_before_anything_is_done() {
    let machine = FakeMachine::new();
    let note = format!("echo $0 >>'{}'", text(&machine.log()));
    for program in ["rustup", "cargo", "qemu-system-x86_64"] {
        machine.script(program, &note);
    }
    for file in ["/no/such/folder/counts.json", "/dev/null", "/"] {
        for options in [
            &["--counts", "--json"][..],
            &["--latency", "--json"],
            &["--latency", "--html"],
            &["--latency", "--svg"],
        ] {
            let mut command = machine.cargo_vm();
            let (status, stdout, stderr) = outcome(command.args(options).arg(file));
            assert_eq!(status, Some(125), "{options:?} {file}: {stderr}");
            assert!(is_error_line(&stderr), "{options:?} {file}: {stderr}");
            let option = options[1];
            assert!(
                stderr.contains(&format!("{file} cannot be written")) && stderr.contains(option),
                "{stderr}"
            );
            assert!(stdout.is_empty(), "{options:?} {file}: {stdout}");
        }
    }
    assert_eq!(machine.logged(), "");
}
