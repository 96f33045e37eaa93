//! A crate that lacks something is told in a sentence what to add.

use std::{fs, process::Output};

use dormir_harness::{toolchain::GuestToolchain, workspace::Workspace};

use crate::{fetch, new_guest, run, stderr, target_of_new_guests};

/// Builds a new crate in which `from` is replaced by `to` in one file. Returns cargo's complaint.
fn complaint(name: &str, file: &str, from: &str, to: &str) -> String {
    let output = build(name, file, from, to, None);
    assert!(!output.status.success(), "it is built without {from}");
    stderr(&output)
}

/// Builds such a crate, with this build script.
fn build(name: &str, file: &str, from: &str, to: &str, script: Option<&str>) -> Output {
    let workspace = Workspace::locate().expect("the test runs in a checkout");
    let toolchain = GuestToolchain::detect(&workspace).expect("guests can be built");
    let folder = tempfile::tempdir().expect("a folder for the test");
    let guest = new_guest(folder.path(), name);
    let text = fs::read_to_string(guest.join(file)).expect("a file");
    assert!(text.contains(from), "{file}: {text}");
    fs::write(guest.join(file), text.replace(from, to)).expect("a file is written");
    if let Some(script) = script {
        fs::write(guest.join("build.rs"), script).expect("a build script is written");
    }
    fetch();
    let mut build = toolchain.command();
    build
        .env("CARGO_NET_OFFLINE", "true")
        .args(["build", "--all-targets", "--target-dir"])
        .arg(target_of_new_guests())
        .current_dir(guest);
    run(build)
}

const CONFIG: &str = ".cargo/config.toml";

#[test]
fn the_target_is_named() {
    let target = "target = \"x86_64-unknown-none\"";
    let text = complaint("lacks-target", CONFIG, target, "");
    assert!(
        text.contains(&format!("add `{target}` to `[build]`")),
        "{text}"
    );
}

#[test]
fn each_flag_is_named() {
    let flags = "\"-Crelocation-model=static\", \"-Clink-arg=-Tdormir.ld\"";
    let (model, script) = ("-Crelocation-model=static", "-Clink-arg=-Tdormir.ld");
    for (name, left, lacking) in [
        ("lacks-flags", "", &[model, script][..]),
        (
            "lacks-script",
            "\"-C\", \"relocation_model=static\"",
            &[script],
        ),
        (
            "lacks-model",
            "\"-Clink-args=-s --script=dormir.ld\"",
            &[model],
        ),
    ] {
        let text = complaint(name, CONFIG, flags, left);
        for flag in [model, script] {
            let is_named = text.contains(&format!("without `{flag}`: add it"));
            assert_eq!(is_named, lacking.contains(&flag), "{left}: {text}");
        }
    }
}

/// Flags of a package's own build script are not seen: what is said about them is a warning.
#[test]
fn a_build_script_may_pass_the_linker_script() {
    let flag = ", \"-Clink-arg=-Tdormir.ld\"";
    let script = r#"fn main() { println!("cargo::rustc-link-arg=-Tdormir.ld"); }"#;
    let output = build("lacks-none", CONFIG, flag, "", Some(script));
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("ignore this if the package's own build script"),
        "{text}"
    );
}

#[test]
fn unwinding_is_refused() {
    let flag = "\"-Crelocation-model=static\"";
    let both = format!("{flag}, \"-Cpanic=unwind\"");
    let text = complaint("lacks-abort", CONFIG, flag, &both);
    assert!(text.contains("replace `-Cpanic=unwind`"), "{text}");
}

#[test]
fn a_missing_entry_is_named_by_the_linker() {
    for (name, file, entry) in [
        ("lacks-main", "src/main.rs", "#[dormir_guest::main]"),
        ("lacks-tests", "src/lib.rs", "dormir_guest::test_main!();"),
        (
            "lacks-test-file",
            "tests/blink.rs",
            "dormir_guest::test_main!();",
        ),
    ] {
        let text = complaint(name, file, entry, "");
        assert!(text.contains("no entry: add"), "{file}: {text}");
        assert!(
            text.contains(entry.trim_end_matches("();")),
            "{file}: {text}"
        );
        assert!(!text.contains("undefined symbol"), "{file}: {text}");
    }
}
