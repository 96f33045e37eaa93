//! The page and the picture that are drawn of saved figures.

use crate::support::{FakeMachine, cargo_vm, is_error_line, outcome, text};

/// What a run of the bench left, in short.
const RUN: &str = r#"{"schema": 1, "kind": "latency", "versions": {}, "left_out": [], "host": {"cpu": "<b>",
    "kernel": null, "kvm_module": null, "hardware_assisted": null, "halt_poll_ns": null, "qemu": null},
    "cells": [{"vmm": "kvm", "timer": "pit", "idle": "halt", "load": "none", "path": "deadline",
        "runtime": "floor", "tsc_hz": 1, "missed": 0, "early": 0, "uncertainty_ns": 0,
        "spans": [{"to": "poll", "histogram_ns": [[5000, 2]]}]}]}"#;

#[test]
fn a_page_and_a_picture_are_drawn_without_setting_anything_up() {
    let machine = FakeMachine::new();
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = |name: &str| text(&folder.path().join(name)).to_owned();
    let (run, page, picture) = (path("run.json"), path("page.html"), path("picture.svg"));
    std::fs::write(&run, RUN).expect("a file is written");
    let arguments = ["--from", &run, "--html", &page, "--svg", &picture];
    let (status, stdout, stderr) = outcome(machine.cargo_vm().args(arguments));
    assert_eq!((status, &*stdout, &*stderr), (Some(0), "", ""));
    let page = std::fs::read_to_string(page).expect("it is there");
    assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
    assert!(
        page.contains("&lt;b&gt;") && !page.contains("<b>"),
        "{page}"
    );
    let picture = std::fs::read_to_string(picture).expect("it is there");
    assert!(picture.starts_with("<svg xmlns="), "{picture}");
}

#[test]
fn what_makes_no_page_is_refused_in_a_sentence_and_nothing_is_written() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = |name: &str| text(&folder.path().join(name)).to_owned();
    let file = |name: &str, content: &str| {
        std::fs::write(path(name), content).expect("a file is written");
        path(name)
    };
    let (run, page) = (file("run.json", RUN), path("page.html"));
    let empty = file("empty.json", &RUN.replace("[[5000, 2]]", "[]"));
    let counts = file(
        "counts.json",
        r#"{"schema": 1, "counts": [], "exits": [], "versions": {}}"#,
    );
    let newer = file("newer.json", r#"{"schema": 1000, "kind": "latency"}"#);
    let folder_name = text(folder.path());
    let last = folder.path().file_name().expect("it has a name");
    let page_by_another_name = path(&format!("../{}/page.html", text(last.as_ref())));
    for (line, reason) in [
        (
            vec!["--from", &counts, "--html", &page],
            "none of the files has latencies",
        ),
        (vec!["--from", &newer, "--html", &page], "schema 1000"),
        (
            vec!["--from", &empty, "--html", &page],
            "a histogram without values",
        ),
        (
            vec!["--from", &run, "--from", &run, "--html", &page],
            "both have latencies",
        ),
        (
            vec!["--from", &run, "--html", &page, "--vmm", "qemu-tcg"],
            "no figures are left",
        ),
        (
            vec!["--from", "/no/such.json", "--html", &page],
            "/no/such.json cannot be read",
        ),
        (
            vec!["--from", &run, "--html", folder_name],
            "cannot be written",
        ),
        (
            vec!["--from", &run, "--svg", "/no/such/folder/a.svg"],
            "pass --svg a file",
        ),
        (vec!["--from", &run, "--html", &run], "would be overwritten"),
        (
            vec!["--from", &run, "--html", &page, "--svg", &page],
            "would be overwritten",
        ),
        (
            vec![
                "--from",
                &run,
                "--html",
                &page,
                "--svg",
                &page_by_another_name,
            ],
            "would be overwritten",
        ),
    ] {
        let (status, stdout, stderr) = outcome(cargo_vm().args(&line));
        assert_eq!(status, Some(125), "{line:?}: {stderr}");
        assert!(is_error_line(&stderr), "{line:?}: {stderr}");
        assert!(stderr.contains(reason), "{line:?}: {stderr}");
        assert!(stdout.is_empty(), "{line:?}: {stdout}");
        assert!(!std::path::Path::new(&page).exists(), "{line:?}");
    }
    assert_eq!(std::fs::read_to_string(&run).expect("it is there"), RUN);
}
