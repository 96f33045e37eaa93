//! A simulated machine made of scripts, which stand in for compilers, package managers and QEMU.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// The time limit of these commands, none of which does real work.
const LIMIT: Duration = Duration::from_secs(60);

/// Makes the command under test, `PROGRAM` of each test's root, with this machine's environment.
pub(crate) fn cargo_vm() -> assert_cmd::Command {
    let mut command = assert_cmd::Command::from_std(std_command());
    command.timeout(LIMIT);
    command
}

/// Makes the same command, to be started and signalled.
pub(crate) fn std_command() -> std::process::Command {
    std::process::Command::new(crate::PROGRAM)
}

/// Runs a command; returns its status, standard output and standard error.
pub(crate) fn outcome(command: &mut assert_cmd::Command) -> (Option<i32>, String, String) {
    let output = command.output().expect("the command runs and ends in time");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A simulated machine whose PATH contains only its scripts.
pub(crate) struct FakeMachine {
    folder: TempDir,
}

impl FakeMachine {
    /// Makes a machine with only a compiler, whose sysroot has no library for guests, and passt.
    pub(crate) fn new() -> Self {
        let machine = Self {
            folder: tempfile::tempdir().expect("a folder for the test"),
        };
        fs::create_dir_all(machine.bin()).expect("a folder is made");
        let sysroot = machine.sysroot();
        machine.script(
            "rustc",
            &format!(
                "case \"$*\" in '--print sysroot') echo '{}';; *) echo rustc 9.8.7;; esac",
                sysroot.display()
            ),
        );
        machine.script("cargo", "exit 99");
        machine.script("passt", "exit 99");
        machine
    }

    /// Makes a machine with a compiler that has the library for guests.
    pub(crate) fn that_builds() -> Self {
        let machine = Self::new();
        fs::create_dir_all(machine.library()).expect("a folder is made");
        machine
    }

    /// Returns the folder that is its PATH.
    pub(crate) fn bin(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    fn sysroot(&self) -> PathBuf {
        self.folder.path().join("sysroot")
    }

    /// Returns the folder whose existence lets the compiler build guests.
    pub(crate) fn library(&self) -> PathBuf {
        self.sysroot().join("lib/rustlib/x86_64-unknown-none/lib")
    }

    /// Adds the source of the library for guests to the compiler.
    pub(crate) fn source(&self) {
        let folder = self.sysroot().join("lib/rustlib/src/rust/library/core/src");
        fs::create_dir_all(&folder).expect("a folder is made");
        fs::write(folder.join("lib.rs"), "").expect("a file is made");
    }

    /// Returns the file in which scripts can log their arguments.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Returns what scripts have logged.
    pub(crate) fn logged(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Puts a shell script into PATH, which can use the usual tools.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.bin().join(name);
        let text = format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{text}\n");
        fs::write(&path, text).expect("a script is written");
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&path, executable).expect("a script is made executable");
        path
    }

    /// Makes the command with this machine's environment.
    pub(crate) fn cargo_vm(&self) -> assert_cmd::Command {
        let mut command = cargo_vm();
        command.env("PATH", self.bin());
        command
            .env_remove("DORMIR_QEMU")
            .env_remove("DORMIR_BROWSER");
        command.env("CARGO", self.bin().join("cargo"));
        command
    }

    /// Starts the command, and waits until its cargo has printed `started`. A process that is still
    /// running shows on the pipe that is returned, which closes once no process holds it.
    pub(crate) fn start(&self, arguments: &[&str]) -> (Child, BufReader<ChildStderr>) {
        let mut command = self.std_command();
        let mut child = command
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        stderr.read_line(&mut line).expect("cargo starts");
        assert_eq!(line, "started\n");
        (child, stderr)
    }

    /// Makes the same command, to be started and signalled.
    pub(crate) fn std_command(&self) -> std::process::Command {
        let mut command = std_command();
        command
            .env("PATH", self.bin())
            .env("CARGO", self.bin().join("cargo"))
            .env_remove("DORMIR_QEMU");
        command
    }
}

/// Returns whether a text is a single error line.
pub(crate) fn is_error_line(text: &str) -> bool {
    text.starts_with("error: ") && text.trim_end().lines().count() == 1
}

/// Returns a path as text, for a script.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path of plain text")
}
