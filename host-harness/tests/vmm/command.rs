//! `cargo vm run` in hostile environments.

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::guests::{GuestFile, exit, print};

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
