//! Test programs that the runner cannot use: it says why in a sentence, and lists and runs nothing.

use std::{fs, path::PathBuf, time::Duration};

use assert_cmd::Command;
use dormir_harness::{toolchain::GuestToolchain, workspace::Workspace};

use crate::{PROGRAM, fetch, new_guest, run, stderr, stdout, target_of_new_guests};

const TESTS: &str = "\
#![no_std]
#![no_main]
dormir_guest::test_main!();
#[dormir_guest::test]
fn one() {}
#[dormir_guest::test]
fn two() {}
";

/// Builds a test program of a new crate.
fn program() -> PathBuf {
    let workspace = Workspace::locate().expect("the test runs in a checkout");
    let toolchain = GuestToolchain::detect(&workspace).expect("guests can be built");
    let folder = tempfile::tempdir().expect("a folder for the test");
    let guest = new_guest(folder.path(), "made-odd");
    fs::write(guest.join("tests/blink.rs"), TESTS).expect("tests are written");
    fetch();
    let mut build = toolchain.command();
    build
        .env("CARGO_NET_OFFLINE", "true")
        .args(["test", "--no-run", "--test", "blink", "--target-dir"])
        .arg(target_of_new_guests())
        .current_dir(&guest);
    let output = run(build);
    let stderr = stderr(&output);
    assert!(output.status.success(), "{stderr}");
    // As in `Executable tests/blink.rs (PATH)`.
    let (_, path) = stderr.rsplit_once('(').expect("the program's path");
    let (path, _) = path.rsplit_once(')').expect("its end");
    guest.join(path)
}

/// Replaces bytes that are there once by as many others.
fn replace(file: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let windows = file.windows(from.len()).enumerate();
    let places: Vec<_> = windows
        .filter(|(_, window)| *window == from.as_bytes())
        .map(|(place, _)| place)
        .collect();
    let [place] = places[..] else {
        panic!("{from:?} is at {places:?}");
    };
    file[place..place + to.len()].copy_from_slice(to.as_bytes());
}

#[test]
fn why_a_program_cannot_be_used_is_said_in_a_sentence() {
    let program = fs::read(program()).expect("the program");
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = folder.path().join("program");
    let runner = |words: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(["runner", "--vmm", "qemu-tcg"]).arg(&file);
        command.args(words).timeout(Duration::from_secs(60));
        command.output().expect("it runs and ends in time")
    };
    fs::write(&file, &program).expect("the program as it is");
    let listed = runner(&["--list"]);
    assert_eq!(stdout(&listed), "one: test\ntwo: test\n");

    let ours = format!("version={}\0", env!("CARGO_PKG_VERSION"));
    let both = [
        "dormir-guest 9.8.7",
        concat!("cargo-vm of version ", env!("CARGO_PKG_VERSION")),
        "use the same version of both",
    ];
    for (from, to, parts) in [
        (
            format!("format=1\0{ours}"),
            "format=9\0version=9.8.7\0",
            &both[..],
        ),
        (
            "name=blink::one\0".into(),
            "name=blink::two\0",
            &["two tests are named `two`: rename one"],
        ),
        (
            "name=blink::one\0".into(),
            "name=blink::../\0",
            &["the table of tests is damaged", "build the program again"],
        ),
    ] {
        let mut odd = program.clone();
        replace(&mut odd, &from, to);
        fs::write(&file, odd).expect("a program is written");
        for words in [&["--list", "--format", "terse"][..], &["one"]] {
            let output = runner(words);
            let stderr = stderr(&output);
            assert_eq!(output.status.code(), Some(125), "{to:?}: {stderr}");
            assert!(output.stdout.is_empty(), "{to:?}: {}", stdout(&output));
            assert_eq!(stderr.lines().count(), 1, "{to:?}: {stderr}");
            for part in parts {
                assert!(stderr.contains(part), "{part}: {stderr}");
            }
        }
    }
}
