//! `cargo vm promises`: which tests it runs, and what it makes of what they print.

use crate::{
    signals::signal_ends_all,
    support::{FakeMachine, cargo_vm, outcome},
};
use rustix::process::Signal;
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

const THREE_PASSED: &str = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured";
const NONE_RAN: &str = "test result: ok. 0 passed; 0 failed; 2 ignored; 0 measured";

/// Checks two promises with this cargo, and returns the status and the row of each.
fn two_promises(cargo: &str) -> (Option<i32>, [String; 2], String) {
    let machine = FakeMachine::that_builds();
    machine.script("cargo", cargo);
    let line = ["promises", "--no-install", "corpora", "threads"];
    let (status, stdout, stderr) = outcome(machine.cargo_vm().args(line));
    let rows = ["| threads ", "| corpora "].map(|begin| {
        let mut rows = stdout.lines().filter(|row| row.starts_with(begin));
        let row = rows.next().unwrap_or_else(|| panic!("{stdout}\n{stderr}"));
        row.split_whitespace().collect::<Vec<_>>().join(" ")
    });
    (status, rows, stdout)
}

#[test]
fn a_promise_runs_its_tests_and_is_kept_if_they_pass() {
    let (status, rows, stdout) = two_promises(&format!("echo \"$*\"; echo '{THREE_PASSED}'"));
    assert_eq!(status, Some(0), "{stdout}");
    assert_eq!(rows[0], "| threads | yes | 3 tests passed, 1 ignored |");
    assert_eq!(rows[1], "| corpora | yes | 6 tests passed, 2 ignored |");
    for line in [
        "--package=dormir --lib --features=alloc loom_tests\n",
        "test --locked --package=dormir-harness --test=corpus\n",
    ] {
        assert!(stdout.contains(line), "{stdout}");
    }
}

/// The others are checked nevertheless.
#[test]
fn a_promise_is_not_kept_if_no_test_ran_or_one_failed_or_cargo_did() {
    for (cargo, result) in [
        (format!("echo '{NONE_RAN}'"), "ran no test"),
        ("true".into(), "ran no test"),
        (format!("echo '{THREE_PASSED}'; exit 101"), "broke off"),
        (
            "echo 'test result: FAILED. 2 passed; 1 failed; 0 ignored'; exit 101".into(),
            "1 of 3 tests failed",
        ),
    ] {
        let script = format!("case \"$*\" in *loom*) {cargo};; *) echo '{THREE_PASSED}';; esac");
        let (status, rows, stdout) = two_promises(&script);
        assert_eq!(status, Some(1), "{stdout}");
        assert!(rows[0].starts_with("| threads | NO | "), "{rows:?}");
        assert!(rows[0].contains(result), "{rows:?}");
        assert!(rows[1].starts_with("| corpora | yes | "), "{rows:?}");
    }
}

#[test]
fn a_signal_ends_the_tests_of_a_promise() {
    let machine = FakeMachine::that_builds();
    machine.script("cargo", "sleep 1000 & echo started >&2; sleep 1000");
    let mut command = machine.std_command();
    command.args(["promises", "threads"]).stdout(Stdio::null());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while line != "started\n" {
        line.clear();
        let bytes = stderr.read_line(&mut line).expect("a line");
        assert!(bytes > 0, "cargo starts");
    }
    signal_ends_all(child, stderr, Signal::INT);
}

/// The page tells what this checkout promises: each promise has a row, which a record filled.
#[test]
fn the_page_has_the_promises_as_they_are() {
    let (status, list, _) = outcome(cargo_vm().args(["promises", "--list"]));
    assert_eq!(status, Some(0));
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/testing.md");
    let page = fs::read_to_string(page).expect("the page");
    let (_, rest) = page.split_once("<!-- promises -->").expect("a table");
    let (table, _) = rest.split_once("<!-- /promises -->").expect("its end");
    let rows = table.lines().skip(3).map(|row| {
        let mut cells = row.trim_start_matches("| ").split(" | ");
        let (sentence, command) = (cells.next(), cells.next());
        let name = command.and_then(|command| command.strip_prefix("`cargo vm promises "));
        let name = name.unwrap_or_else(|| panic!("no command: {row}"));
        (name.trim_end_matches('`'), sentence.unwrap_or_default())
    });
    let promised = list.lines().map(|line| {
        let (name, sentence) = line.split_once(": ").expect("a name");
        (name.trim_end_matches(" (long)"), sentence)
    });
    let (rows, promised) = (BTreeSet::from_iter(rows), BTreeSet::from_iter(promised));
    assert!(!rows.is_empty(), "the table is read");
    let others: Vec<_> = rows.symmetric_difference(&promised).collect();
    assert!(
        others.is_empty(),
        "run `cargo vm promises --record` for these, or remove the record of one that is gone: \
         {others:?}"
    );
}
