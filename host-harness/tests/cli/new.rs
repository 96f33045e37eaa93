//! `cargo vm new`: what it makes, and what it refuses. Nothing is built here.

use std::{fs, os::unix::fs::PermissionsExt};

use dormir_harness::vmm::Vmm;

use crate::support::{FakeMachine, cargo_vm, is_error_line, outcome};

/// Makes an empty folder outside any checkout.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

#[test]
fn a_crate_is_made_and_the_notes_tell_what_it_depends_on() {
    let folder = folder();
    let mut command = FakeMachine::new().cargo_vm();
    command.current_dir(folder.path());
    let (status, stdout, stderr) = outcome(command.args(["new", "in/a-guest"]));
    assert_eq!(status, Some(0), "{stderr}");
    assert!(stdout.is_empty(), "{stdout}");
    for part in [
        "by its path",
        "not published yet",
        "cargo install",
        "cd in/a-guest",
    ] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    let read = |name: &str| {
        let path = folder.path().join("in/a-guest").join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    for file in [
        "Cargo.toml",
        ".cargo/config.toml",
        "rust-toolchain.toml",
        ".gitignore",
        "src/lib.rs",
        "src/main.rs",
        "tests/blink.rs",
        ".github/workflows/ci.yml",
    ] {
        let text = read(file);
        // But for variables of the workflow.
        let filled = text.replace("${{ ", "");
        assert!(!filled.contains("{{"), "{file}: {text}");
        assert!(text.lines().all(|line| line.len() <= 100), "{file}: {text}");
    }
    assert!(read("Cargo.toml").contains("name = \"a-guest\""));
    assert!(read("src/main.rs").contains("use a_guest::blink;"));
    let workflow = read(".github/workflows/ci.yml");
    let (_, vmms) = workflow.split_once("vmm: [").expect("a matrix");
    let (vmms, _) = vmms.split_once(']').expect("its end");
    for vmm in vmms.split(", ") {
        assert!(vmm.parse::<Vmm>().is_ok(), "{vmm}");
    }
    // No `cargo-vm` is in that machine's PATH.
    assert!(read(".cargo/config.toml").contains(crate::PROGRAM));
}

#[test]
fn an_installed_program_becomes_the_runner() {
    let (folder, machine) = (folder(), FakeMachine::new());
    machine.script("cargo-vm", "");
    let mut command = machine.cargo_vm();
    command.current_dir(folder.path());
    let (status, _, stderr) = outcome(command.args(["new", "guest"]));
    assert_eq!(status, Some(0), "{stderr}");
    let config = folder.path().join("guest/.cargo/config.toml");
    let config = fs::read_to_string(config).expect("a file");
    assert!(config.contains("runner = \"cargo-vm runner\""), "{config}");
}

#[test]
fn a_git_repository_takes_the_place_of_the_checkout() {
    let folder = folder();
    for (name, template, manifest) in [
        ("one", "guest", "Cargo.toml"),
        ("two", "hyperlight", "guest/Cargo.toml"),
        ("three", "hyperlight", "host/Cargo.toml"),
    ] {
        let mut command = cargo_vm();
        command.current_dir(folder.path());
        let options = ["--template", template, "--git", "https://forge.example/d"];
        let (status, _, stderr) = outcome(command.args(["new", name]).args(options));
        assert_eq!(status, Some(0), "{stderr}");
        let path = folder.path().join(name).join(manifest);
        let manifest = fs::read_to_string(path).expect("a manifest");
        assert!(
            manifest.contains("git = \"https://forge.example/d\""),
            "{manifest}"
        );
        assert!(!manifest.contains("path = \"/"), "{manifest}");
    }
}

#[test]
fn bad_input_is_refused_in_a_sentence_and_nothing_is_made() {
    let folder = folder();
    fs::create_dir(folder.path().join("there")).expect("a folder");
    let checkout = concat!(env!("CARGO_MANIFEST_DIR"), "/target-of-a-test");
    for (line, named) in [
        ("there", "exists already"),
        ("2guests", "`2guests` is not a crate's name"),
        ("a.b", "`a.b`"),
        ("..", "`..`"),
        ("core", "`core` is taken"),
        ("dormir-guest", "`dormir-guest` is taken"),
        (checkout, "inside the checkout"),
        (
            "guest --path no-such-folder",
            "no-such-folder is not a checkout",
        ),
        ("guest --path there", "there is not a checkout"),
        ("guest --git=-x", "is not the address"),
        ("guest --git=a'b", "is not the address"),
        ("/proc/guest", "cannot be written"),
    ] {
        let mut command = cargo_vm();
        command.current_dir(folder.path()).arg("new");
        let (status, stdout, stderr) = outcome(command.args(line.split(' ')));
        assert_eq!(status, Some(125), "{line}: {stderr}");
        assert!(stderr.contains(named), "{line}: {stderr}");
        assert!(is_error_line(&stderr), "{line}: {stderr}");
        assert!(stdout.is_empty(), "{line}: {stdout}");
    }
    let left = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 1, "only `there`");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = folder();
    let read_only = fs::Permissions::from_mode(0o555);
    fs::set_permissions(folder.path(), read_only).expect("it is made read-only");
    if fs::write(folder.path().join("probe"), "").is_ok() {
        println!("skipped: this user may write everywhere");
        return;
    }
    let mut command = cargo_vm();
    command.current_dir(folder.path());
    let (status, _, stderr) = outcome(command.args(["new", "guest"]));
    assert_eq!(status, Some(125), "{stderr}");
    assert!(is_error_line(&stderr), "{stderr}");
    assert!(stderr.contains("guest cannot be written"), "{stderr}");
}

/// A cargo that installs from git builds in a folder of its own, which it may remove.
#[test]
fn a_checkout_of_cargos_own_is_not_named() {
    let folder = folder();
    let checkout = folder.path().join("checkout");
    fs::create_dir_all(checkout.join("guest-image")).expect("a folder");
    for file in ["guest-image/Cargo.toml", ".cargo-ok"] {
        fs::write(checkout.join(file), "").expect("a file");
    }
    let mut command = cargo_vm();
    command.current_dir(folder.path());
    let (status, _, stderr) = outcome(command.args(["new", "guest", "--path", "checkout"]));
    assert_eq!(status, Some(125), "{stderr}");
    assert!(is_error_line(&stderr), "{stderr}");
    assert!(stderr.contains("--git"), "{stderr}");
}

/// Cargo starts an external subcommand with its name as the first argument.
#[test]
fn an_installed_program_takes_what_cargo_passes() {
    let (status, stdout, stderr) = outcome(cargo_vm().args(["vm", "demo", "--list"]));
    assert_eq!(status, Some(0), "{stderr}");
    assert!(stdout.starts_with("basic"), "{stdout}");
}
