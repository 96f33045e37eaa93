//! What works in a new crate at once, besides the commands of the README.

use std::{fs, path::PathBuf, process::Output};

use crate::{command, has_target, new_guest, run, stderr, stdout, target_of_new_guests};

/// A new crate.
struct Made {
    guest: PathBuf,
    _folder: tempfile::TempDir,
}

impl Made {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        Self {
            guest: new_guest(folder.path(), &format!("made-{name}")),
            _folder: folder,
        }
    }

    fn cargo(&self, line: &str, variables: &[(&str, &str)]) -> Output {
        let mut cargo = command("cargo");
        cargo
            .args(line.split(' '))
            .current_dir(&self.guest)
            .env("CARGO_TARGET_DIR", target_of_new_guests())
            .envs(variables.iter().copied());
        run(cargo)
    }

    /// Runs cargo, which must succeed; returns what it wrote to standard output.
    fn succeeds(&self, line: &str, variables: &[(&str, &str)]) -> String {
        let output = self.cargo(line, variables);
        let stdout = stdout(&output);
        let is_success = output.status.success();
        assert!(is_success, "{line}: {stdout}\n{}", stderr(&output));
        stdout
    }
}

#[test]
fn debug_and_release_run_and_are_tested_and_filters_select() {
    if !has_target() {
        return;
    }
    let made = Made::new("run-and-tested");
    for profile in ["", " --release"] {
        let vmm = &[("DORMIR_VMM", "qemu-tcg/microvm")];
        let console = made.succeeds(&format!("run{profile}"), vmm);
        assert_eq!(console, "blink\nblink\nblink\n", "{profile}");
        let line = format!("test{profile} faster -- --nocapture");
        let results = made.succeeds(&line, vmm);
        for part in [
            "shown if the test fails, and with `-- --nocapture`\n",
            "test a_faster_rate_has_a_shorter_period ... ok",
            "1 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out",
        ] {
            assert!(results.contains(part), "{part}: {results}");
        }
        let none = made.succeeds(&format!("test{profile} nothing-like-it"), vmm);
        assert_eq!(none.matches("running 0 tests").count(), 2, "{none}");
    }
}

#[test]
fn nextest_and_benches_and_all_targets_work() {
    if !has_target() {
        return;
    }
    let made = Made::new("nextested");
    made.succeeds("bench", &[]);
    made.succeeds("test --all-targets", &[]);
    if !made.cargo("nextest --version", &[]).status.success() {
        println!("skipped: cargo-nextest is not installed");
        return;
    }
    let output = made.cargo("nextest run --color never", &[]);
    let stderr = stderr(&output);
    assert!(output.status.success(), "{stderr}");
    for part in [
        "made-nextested tests::ten_a_second_are_a_tenth_of_a_second_apart",
        "made-nextested::blink tasks_blink_at_the_same_time",
        "4 tests run: 4 passed, 0 skipped",
    ] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    // Its own status, and its own sentence.
    let none = made.cargo("nextest run --color never nothing-like-it", &[]);
    assert_eq!(none.status.code(), Some(4), "{none:?}");
}

#[test]
fn it_is_formatted_and_has_no_warnings() {
    if !has_target() {
        return;
    }
    let made = Made::new("linted");
    for (component, line) in [
        ("fmt", "fmt --check"),
        ("clippy", "clippy -- -D warnings"),
        ("clippy", "clippy --all-targets -- -D warnings"),
    ] {
        let version = format!("{component} --version");
        if made.cargo(&version, &[]).status.success() {
            made.succeeds(line, &[]);
        } else {
            println!("skipped: there is no {component}");
        }
    }
}

#[test]
fn a_failure_is_shown_with_file_and_line_or_with_how_to_get_them() {
    if !has_target() {
        return;
    }
    let made = Made::new("failing");
    let tests = made.guest.join("tests/blink.rs");
    let text = fs::read_to_string(&tests).expect("the tests");
    let (before, _) = text.split_once("assert!(period(20)").expect("an assertion");
    let line = before.lines().count();
    let text = text.replace("assert!(period(20) <", "assert!(period(20) >");
    fs::write(&tests, text).expect("they are written");
    let named = format!("at tests/blink.rs:{line}");
    let stripped = ("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    for (profile, variables, part) in [
        ("", &[][..], &named),
        (" --release", &[][..], &named),
        (
            " --release",
            &[stripped][..],
            &"set debug = \"line-tables-only\"".to_owned(),
        ),
    ] {
        let line = format!("test{profile} --test blink faster");
        let output = made.cargo(&line, variables);
        assert_eq!(output.status.code(), Some(101), "{}", stderr(&output));
        let stdout = stdout(&output);
        for part in [
            part,
            "assertion failed: period(20) > period(10)",
            "backtrace of the guest, innermost call first:",
            "--- console ---\nshown if the test fails",
        ] {
            assert!(stdout.contains(part), "{profile} {part}: {stdout}");
        }
    }
}

#[test]
fn a_program_without_tests_has_none() {
    if !has_target() {
        return;
    }
    let made = Made::new("untested");
    fs::write(
        made.guest.join("tests/blink.rs"),
        "#![no_std]\n#![no_main]\ndormir_guest::test_main!();\n",
    )
    .expect("a program is written");
    let stdout = made.succeeds("test --test blink", &[]);
    assert!(stdout.contains("running 0 tests"), "{stdout}");
    assert!(stdout.contains("test result: ok. 0 passed"), "{stdout}");
}

#[test]
fn what_a_test_sends_goes_to_a_folder_of_its_own() {
    if !has_target() {
        return;
    }
    let made = Made::new("sending");
    let tests = made.guest.join("tests/blink.rs");
    let text = fs::read_to_string(&tests).expect("the tests");
    let (sent, lost) = ("assert!(period(20)", "period(0);");
    assert!(text.contains(sent) && text.contains(lost));
    // Also by a test that panics.
    let send = "dormir_guest::send(\"periods.csv\", b\"20,50\\n\");";
    let text = text
        .replace(sent, &format!("{send}\n{sent}"))
        .replace(lost, &format!("{send}\n{lost}"));
    fs::write(&tests, text).expect("they are written");
    let out = made.guest.join("results");
    let program = env!("CARGO_BIN_EXE_cargo-vm");
    let runner = format!("{program} runner --out {}", out.display());
    let variable = ("CARGO_TARGET_X86_64_UNKNOWN_NONE_RUNNER", &*runner);
    made.succeeds("test --test blink", &[variable]);
    let out = out.join("made-sending/blink");
    let folders = fs::read_dir(&out).expect("a folder").flatten();
    let mut folders: Vec<_> = folders.map(|folder| folder.file_name()).collect();
    folders.sort();
    assert_eq!(
        folders,
        [
            "a_faster_rate_has_a_shorter_period",
            "a_rate_of_zero_is_refused"
        ]
    );
    for folder in folders {
        let data = fs::read(out.join(folder).join("periods.csv")).expect("data");
        assert_eq!(data, b"20,50\n");
    }
}
