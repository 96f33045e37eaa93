//! Figures in Markdown files, and the records that they come from.

use crate::support::{cargo_vm, is_error_line, outcome};
use std::{fs, path::Path};
use tempfile::TempDir;

const RECORD: &str = r#"{"schema": 1, "versions": {}, "exits": [], "counts": [{"runtime": "dormir",
    "case": "spawn", "n": 64, "capacity": 64, "cpus": "shared", "instructions": 60.1}]}"#;

/// A checkout with these files besides what makes it one.
fn checkout(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().expect("a folder for the test");
    for (name, text) in files.iter().chain(&[("guest-image/Cargo.toml", "")]) {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
        fs::write(path, text).expect("it is written");
    }
    root
}

/// What the command does in this checkout.
fn splice(root: &Path, options: &[&str]) -> (Option<i32>, String, String) {
    let mut command = cargo_vm();
    // Cargo sets it, and it leads to the checkout.
    command.env("CARGO_MANIFEST_DIR", root.join("guest-image"));
    outcome(command.arg("--splice").args(options))
}

#[test]
fn the_figures_of_this_checkout_are_those_of_its_records() {
    let (status, _, stderr) = outcome(cargo_vm().args(["--splice", "--check"]));
    assert_eq!(status, Some(0), "{stderr}");
}

#[test]
fn a_figure_that_is_not_the_records_is_named_and_put_in() {
    let text = "It takes <!-- figures: count dormir/spawn/64/64/shared -->59<!-- /figures -->.\n";
    let root = checkout(&[
        ("docs/figures/counts.json", RECORD),
        ("README.md", "no figures\n"),
        ("docs/costs.md", text),
    ]);
    let file = root.path().join("docs/costs.md");
    let (status, stdout, stderr) = splice(root.path(), &["--check"]);
    assert_eq!((status, &*stdout), (Some(1), ""), "{stderr}");
    assert!(is_error_line(&stderr), "{stderr}");
    for part in [
        "docs/costs.md",
        "`count dormir/spawn/64/64/shared`",
        "bench --splice`",
    ] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    assert_eq!(fs::read_to_string(&file).expect("text"), text);

    let (status, _, stderr) = splice(root.path(), &[]);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(stderr.contains("put in anew: docs/costs.md"), "{stderr}");
    let spliced = fs::read_to_string(&file).expect("text");
    assert_eq!(spliced, text.replace("59", "60"));
    for options in [&["--check"][..], &[]] {
        let (status, stdout, stderr) = splice(root.path(), options);
        assert_eq!((status, &*stdout, &*stderr), (Some(0), "", ""));
    }
}

#[test]
fn a_record_that_is_missing_or_broken_is_said_in_a_sentence() {
    let text = "<!-- figures: counts-tasks -->\n<!-- /figures -->\n";
    for (record, reason) in [
        (None, "README.md: docs/figures/counts.json is not there"),
        (Some("{"), "docs/figures/counts.json cannot be read"),
    ] {
        let root = checkout(&[("README.md", text)]);
        if let Some(record) = record {
            let folder = root.path().join("docs/figures");
            fs::create_dir_all(&folder).expect("it is made");
            fs::write(folder.join("counts.json"), record).expect("it is written");
        }
        let (status, _, stderr) = splice(root.path(), &[]);
        assert_eq!(status, Some(125), "{stderr}");
        assert!(
            is_error_line(&stderr) && stderr.contains(reason),
            "{stderr}"
        );
        let left = fs::read_to_string(root.path().join("README.md")).expect("text");
        assert_eq!(left, text);
    }
}
