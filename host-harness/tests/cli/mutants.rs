//! What `cargo vm mutants` records, with a script in place of cargo-mutants.

use crate::support::{FakeMachine, outcome, text};
use std::{fs, path::Path};

/// A checkout with two mutants, of which an earlier run has caught both.
fn checkout(folder: &Path) {
    for (name, content) in [
        ("guest-image/Cargo.toml", ""),
        ("src/event.rs", "a\nb\n"),
        ("docs/mutants.json", "[]"),
        (
            "docs/testing.md",
            "<!-- promises -->\n<!-- /promises -->\n<!-- records -->\n<!-- /records -->\n",
        ),
        (
            "docs/records/mutants.json",
            // The content is that of the file, as git names it.
            r#"{"claim": "", "command": "", "date": "2001-02-03T04:05:06Z", "machine": "old",
                "commit": "old", "seconds": 1, "passed": true, "result": "old",
                "details": {"files": {"src/event.rs": {
                    "content": "422c2b7ab3b3c668038da977e4e93a5fc623169c",
                    "caught": ["1:1: delete a", "2:1: delete b"]}}}}"#,
        ),
    ] {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().expect("it has one")).expect("a folder is made");
        fs::write(file, content).expect("a file is made");
    }
}

/// Runs the command, where cargo-mutants lists two mutants and tries them by `tries`. Returns the
/// status, the record and what was complained of.
fn run(tries: &str, words: &[&str]) -> (Option<i32>, serde_json::Value, String) {
    let machine = FakeMachine::that_builds();
    machine.script("git", "exec git \"$@\"");
    let folder = tempfile::tempdir().expect("a folder");
    checkout(folder.path());
    let mutant = |line: u8, what: &str| {
        format!(
            r#"{{"file": "src/event.rs", "name": "src/event.rs:{line}:1: delete {what}",
                "span": {{"start": {{"line": {line}}}}}}}"#
        )
    };
    machine.script(
        "cargo-mutants",
        &format!(
            "out='{}/target/mutants/mutants.out'\n\
             case \"$*\" in *--version) echo cargo-mutants 27.1.0;; *--list*) echo '[{}, {}]';; \
             *) {tries};; esac",
            text(folder.path()),
            mutant(1, "a"),
            mutant(2, "b")
        ),
    );
    let mut command = machine.cargo_vm();
    command.env("CARGO_MANIFEST_DIR", folder.path());
    command.args(["mutants", "--record", "--no-install"]);
    let (status, _, stderr) = outcome(command.args(words));
    let record = folder.path().join("docs/records/mutants.json");
    let record = fs::read(record).expect("it is there");
    let record = serde_json::from_slice(&record).expect("it is a record");
    (status, record, stderr)
}

/// It writes what it found to the files that it always makes.
const CATCHES: &str = "touch $out/timeout.txt $out/unviable.txt $out/missed.txt; \
     echo 'src/event.rs:1:1: delete a' >>$out/caught.txt; \
     echo 'src/event.rs:2:1: delete b' >>$out/caught.txt";

#[test]
fn tests_that_fail_without_a_mutant_are_no_success() {
    let (status, record, stderr) = run("exit 4", &["--again"]);
    assert_eq!(status, Some(125), "{stderr}");
    assert!(stderr.contains("they fail without a mutant"), "{stderr}");
    assert_eq!(record["passed"], false, "{record:#}");
    let result = record["result"].as_str().expect("a sentence");
    assert!(result.contains("2 not tried yet"), "{result}");
    assert!(result.contains("the tests failed without"), "{result}");
    assert_eq!(
        record["details"]["files"].as_object().map(|f| f.len()),
        Some(0)
    );
}

#[test]
fn a_run_that_tries_nothing_keeps_the_records_date() {
    let (status, record, stderr) = run("exit 4", &[]);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(stderr.contains("nothing was tried"), "{stderr}");
    assert_eq!(record["date"], "2001-02-03T04:05:06Z");
    assert_eq!([&record["machine"], &record["commit"]], ["old", "old"]);
    assert_eq!(record["passed"], true);
}

#[test]
fn a_run_that_tries_all_says_so() {
    let (status, record, stderr) = run(CATCHES, &["--again"]);
    assert_eq!(status, Some(0), "{stderr}");
    assert_ne!(record["date"], "2001-02-03T04:05:06Z");
    assert_eq!(record["passed"], true, "{record:#}");
    let result = record["result"].as_str().expect("a sentence");
    assert!(result.ends_with("; all were tried in this run"), "{result}");
}
