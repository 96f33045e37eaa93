//! `cargo vm run` in hostile environments.

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::guests::{GuestFile, exit, print, record};

pub(crate) const DORMIR_QEMU: &str = dormir_harness::vmm::qemu::PROGRAM_VARIABLE;

/// `mov al, 'x'; again: out 0xe9, al; jmp again`
const PRINT_FOR_EVER: &[u8] = &[0xb0, b'x', 0xe6, 0xe9, 0xeb, 0xfc];

/// Makes the command, without arguments.
pub(crate) fn cargo_vm() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-vm"));
    command.env_remove(DORMIR_QEMU);
    command
}

/// Makes a shell script in this folder.
pub(crate) fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script is written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be executed");
    path
}

#[test]
fn an_output_that_is_not_read_does_not_outlast_the_time_limit() {
    let guest = GuestFile::new(PRINT_FOR_EVER);
    for vmm in ["kvm", "qemu-tcg"] {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let started = Instant::now();
        let status = cargo_vm()
            .args(["run", "--vmm", vmm, "--memory", "4", "--timeout", "4"])
            .arg(guest.path())
            .stdout(writer)
            .stderr(Stdio::null())
            .status()
            .expect("it runs");
        assert_eq!(status.code(), Some(124), "{vmm}");
        assert!(started.elapsed() < Duration::from_secs(20), "{vmm}");
        let mut output = Vec::new();
        reader.read_to_end(&mut output).expect("nobody holds it");
        assert!(!output.is_empty() && output.iter().all(|&byte| byte == b'x'));
    }
}

#[test]
fn an_output_without_space_ends_the_run_with_the_reason() {
    let guest = GuestFile::new(&[print(b"hi"), exit(0)].concat());
    let full = fs::File::create("/dev/full").expect("Linux has it");
    let output = cargo_vm()
        .args(["run", "--vmm", "qemu-tcg", "--memory", "4"])
        .arg(guest.path())
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(119), "{stderr}");
    assert!(stderr.contains("No space left"), "{stderr}");
}

#[test]
fn a_program_that_is_not_qemu_is_named_and_gives_no_result() {
    let guest = GuestFile::new(&exit(0));
    let folder = tempfile::tempdir().expect("a folder for the test");
    let silent = |name: &str, status: u8| script(folder.path(), name, &format!("exit {status}"));
    for (program, named) in [
        ("no-such-qemu".into(), "no-such-qemu: install"),
        (silent("passes", 33), "--version` failed"),
        (silent("succeeds", 0), "--version` does not name"),
        (folder.path().to_owned(), "could not be started"),
    ] {
        let output = cargo_vm()
            .env(DORMIR_QEMU, program)
            .args(["run", "--vmm", "qemu-tcg"])
            .arg(guest.path())
            .output()
            .expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{stderr}");
        assert!(stderr.contains(named), "{stderr}");
    }
}

/// Runs a guest that sends data and exits with `code`, with this --out. Returns the status and
/// standard error.
fn run_with_out(records: &[&str], code: u8, out: Option<&Path>) -> (Option<i32>, String) {
    let mut bytes = Vec::new();
    for text in records {
        bytes.extend(record(true, text));
    }
    bytes.extend(record(true, &format!("exit {code}")));
    bytes.extend(exit(code));
    let guest = GuestFile::with_records(&bytes);
    let mut command = cargo_vm();
    command.args(["run", "--vmm", "kvm", "--memory", "4"]);
    if let Some(out) = out {
        command.arg("--out").arg(out);
    }
    let output = command.arg(guest.path()).output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), stderr)
}

#[test]
fn data_becomes_files_that_stay_in_their_folder() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let (out, outside) = (folder.path().join("in/out"), folder.path().join("outside"));
    let records = ["data a.txt 6869", "data link 6a", "data ../outside 00"];
    fs::create_dir_all(&out).expect("a folder is made");
    fs::write(&outside, "kept").expect("a file is written");
    fs::write(out.join("a.txt"), "a longer text").expect("a file is written");
    std::os::unix::fs::symlink(&outside, out.join("link")).expect("a link is made");
    // However the guest ends.
    for code in [0, 7] {
        let (status, stderr) = run_with_out(&records, code, Some(&out));
        assert_eq!(status, Some(code.into()), "{stderr}");
        assert_eq!(fs::read(out.join("a.txt")).expect("a file"), b"hi");
        assert_eq!(fs::read(out.join("link")).expect("a file"), b"j");
        assert_eq!(fs::read(&outside).expect("a file"), b"kept");
        assert_eq!(fs::read_dir(&out).expect("a folder").count(), 2);
    }
}

#[test]
fn data_that_cannot_be_kept_is_named() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let (status, stderr) = run_with_out(&["data a.txt 6869"], 0, None);
    assert_eq!(status, Some(0));
    assert!(stderr.contains("sent a.txt: pass --out"), "{stderr}");
    // A folder has the file's name.
    fs::create_dir_all(folder.path().join("a.txt/x")).expect("a folder is made");
    for (code, expected) in [(0, 119), (7, 7)] {
        let (status, stderr) = run_with_out(&["data a.txt 6869"], code, Some(folder.path()));
        assert_eq!(status, Some(expected), "{stderr}");
        assert!(stderr.contains("a.txt cannot be written"), "{stderr}");
    }
    let (status, stderr) = run_with_out(&[], 0, Some(Path::new("/dev/null/x")));
    assert_eq!(status, Some(125), "{stderr}");
    assert!(stderr.contains("cannot be made"), "{stderr}");
}
