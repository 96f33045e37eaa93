//! A QEMU that is broken, or another program of this name: none of their ends is a guest's result.

use std::{
    env,
    fs::{self, File},
    io::{IoSlice, Read, Write},
    mem::MaybeUninit,
    net::TcpListener,
    os::{
        fd::BorrowedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::{
    command::{DORMIR_QEMU, cargo_vm, script},
    guests::{GuestFile, SPIN, exit, print, record},
    leftovers::{free_forward, processes_with, wait_for},
};

/// The part of a script that prints its version as QEMU does.
const VERSION: &str = "[ \"$1\" = --version ] && exec echo 'QEMU emulator version 9.9.9'\n";

/// Makes a script that replaces QEMU.
fn program(folder: &Path, text: &str) -> std::path::PathBuf {
    script(folder, "qemu-system-x86_64", &format!("{VERSION}{text}"))
}

fn run(guest: &GuestFile) -> Command {
    let mut command = cargo_vm();
    command
        .args(["run", "--vmm", "qemu-tcg", "--memory", "4"])
        .arg(guest.path());
    command
}

fn ended(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("it runs");
    let stderr = String::from_utf8(output.stderr).expect("text");
    (output.status.code(), stderr)
}

/// Another program takes a port after it was checked.
#[test]
fn a_port_that_is_taken_meanwhile_is_named() {
    let (guest, forward) = (GuestFile::new(SPIN), free_forward());
    let folder = tempfile::tempdir().expect("a folder for the test");
    let (started, taken) = (folder.path().join("started"), folder.path().join("taken"));
    let text = format!(
        ">{}; until [ -e {} ]; do sleep 0.01; done; exit 1",
        started.display(),
        taken.display()
    );
    let child = run(&guest)
        .args(["--net", &format!("user,{forward}")])
        .env(DORMIR_QEMU, program(folder.path(), &text))
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let has_started = wait_for(|| started.exists());
    let listener = TcpListener::bind(("127.0.0.1", forward.host)).expect("it is free");
    fs::write(&taken, "").expect("a file");
    let output = child.wait_with_output().expect("it ends");
    drop(listener);
    let stderr = String::from_utf8(output.stderr).expect("text");
    let sentence = format!("port {} of this host, which leads", forward.host);
    assert!(has_started && stderr.contains(&sentence), "{stderr}");
    assert_eq!(output.status.code(), Some(125));
}

/// Runs a script that does this once the guest has printed something. No program can be started by
/// then, and no file opened.
fn ended_once_started(guest: &GuestFile, end: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let fifo = folder.path().join("fifo");
    let status = Command::new("mkfifo").arg(&fifo).status();
    assert!(status.expect("coreutils are there").success());
    let text = format!(
        "exec 3<>'{}'; qemu-system-x86_64 \"$@\" & read go <&3; {end}",
        fifo.display()
    );
    let broken = program(folder.path(), &text);
    let mut command = run(guest);
    command.env(DORMIR_QEMU, broken);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut printed = [0];
    let stdout = child.stdout.as_mut().expect("it is piped");
    // Without a guest that prints, it ends, and what it says is compared.
    if stdout.read_exact(&mut printed).is_ok() {
        let fifo = File::options().read(true).write(true).open(&fifo);
        fifo.and_then(|mut fifo| fifo.write_all(b"go\n"))
            .expect("the script reads it");
    }
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8(output.stderr).expect("text");
    (output.status.code(), stderr)
}

#[test]
fn what_ends_before_the_guest_runs_ends_for_no_guest() {
    let path = std::env::var("PATH").expect("there is one");
    for guest in [GuestFile::new(&exit(0)), GuestFile::with_records(&exit(0))] {
        for (end, message) in [
            ("exit 33", "exit status: 33, without a message"),
            ("exit 0", "exit status: 0"),
            (
                "echo libx.so.1: no such file >&2; exit 127",
                "libx.so.1: no such file",
            ),
            ("kill -KILL $$", "signal: 9"),
            (
                "printf '\\033[2Jlow' >&2; kill -SEGV $$",
                "its last words: \\u{1b}[2Jlow",
            ),
        ] {
            let folder = tempfile::tempdir().expect("a folder for the test");
            let broken = program(folder.path(), end);
            let mut named = run(&guest);
            named.env(DORMIR_QEMU, broken);
            let mut in_path = run(&guest);
            in_path.env("PATH", format!("{}:{path}", folder.path().display()));
            for mut command in [named, in_path] {
                let (status, stderr) = ended(&mut command);
                assert_eq!(status, Some(125), "{end}: {stderr}");
                assert!(stderr.contains(message), "{end}: {stderr}");
                assert!(!stderr.contains('\x1b'), "{end}: {stderr:?}");
            }
        }
    }
}

#[test]
fn one_that_does_not_start_the_guest_is_reported() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let hangs = program(folder.path(), "echo waiting >&2; sleep 1000");
    let guest = GuestFile::new(&exit(0));
    let mut command = run(&guest);
    let (status, stderr) = ended(command.args(["--timeout", "2"]).env(DORMIR_QEMU, hangs));
    assert_eq!(status, Some(124), "{stderr}");
    let message = "QEMU had not started it (its last words: waiting)";
    assert!(stderr.contains(message), "{stderr}");
}

#[test]
fn the_one_in_path_is_asked_for_its_version_too() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    script(
        folder.path(),
        "qemu-system-x86_64",
        "echo no library >&2; exit 127",
    );
    let (status, stderr) = ended(run(&GuestFile::new(&exit(0))).env("PATH", folder.path()));
    assert_eq!(status, Some(125), "{stderr}");
    assert!(
        stderr.contains("--version` failed (exit status: 127, no library)"),
        "{stderr}"
    );
}

#[test]
fn one_that_fails_while_the_guest_runs_is_not_a_guests_end() {
    let started = [print(b"!"), SPIN.to_vec()].concat();
    for (guest, end, message) in [
        (GuestFile::new(&started), "kill -KILL $$", "signal: 9"),
        (
            GuestFile::new(&started),
            "echo oh >&2; kill -SEGV $$",
            "its last words: oh",
        ),
        (GuestFile::new(&started), "exit 127", "exit code 47"),
        (
            GuestFile::with_records(&started),
            "exit 127",
            "exit code 47, which the guest did not report",
        ),
        (
            GuestFile::with_records(&started),
            "exit 33",
            "exit code 0, which the guest did not report",
        ),
    ] {
        let (status, stderr) = ended_once_started(&guest, end);
        // Of a foreign guest only the status is known.
        let expected = if stderr.contains("itself with exit code 47") {
            47
        } else {
            123
        };
        assert_eq!(status, Some(expected), "{end}: {stderr}");
        assert!(stderr.contains(message), "{end}: {stderr}");
    }
}

#[test]
fn one_that_starts_a_program_while_the_guest_runs_is_ended() {
    let guest = GuestFile::new(&[print(b"!"), SPIN.to_vec()].concat());
    let (status, stderr) = ended_once_started(&guest, "/bin/echo escaped");
    assert_eq!(status, Some(123), "{stderr}");
    let sentence = "QEMU was ended, since it asked for the system call";
    assert!(stderr.contains(sentence), "{stderr}");
}

#[test]
fn a_process_outside_a_wrappers_session_blocks_nothing_and_ends() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mark = format!("1{:06}", std::process::id());
    let wrapper = program(
        folder.path(),
        &format!("setsid sleep {mark} & exec qemu-system-x86_64 \"$@\""),
    );
    let code = [record(false, "exit 0"), exit(0)].concat();
    let started = Instant::now();
    let (status, stderr) = ended(run(&GuestFile::with_records(&code)).env(DORMIR_QEMU, wrapper));
    assert_eq!(status, Some(0), "{stderr}");
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(wait_for(|| processes_with(&mark) == 0), "it is gone");
}

/// Names the monitor's file descriptor, and a socket to pass it to.
const PASSED: &str = "DORMIR_TEST_PASSED";

/// In the process of the tests it does nothing.
#[test]
fn passes_its_monitor_on() {
    let Ok(passed) = env::var(PASSED) else {
        return;
    };
    let (number, socket) = passed.split_once(':').expect("both");
    // SAFETY: this process has inherited it, and does not close it.
    let monitor = unsafe { BorrowedFd::borrow_raw(number.parse().expect("a number")) };
    let socket = UnixStream::connect(socket).expect("it listens");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files = [monitor];
    assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
    sendmsg(
        &socket,
        &[IoSlice::new(b"x")],
        &mut control,
        SendFlags::empty(),
    )
    .expect("it is sent");
    thread::sleep(Duration::from_secs(1000));
}

/// Its monitor stays open elsewhere: nobody takes it.
#[test]
fn one_whose_monitor_stays_open_ends_at_the_time_limit() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let socket = folder.path().join("socket");
    let _never_accepts = UnixListener::bind(&socket).expect("a new path");
    let text = format!(
        "for word; do case $word in socket,id=monitor,fd=*) fd=${{word##*=}} ;; esac; done\n\
         {PASSED}=$fd:{} exec {} broken_qemu::passes_its_monitor_on --exact",
        socket.display(),
        env::current_exe().expect("it has a path").display(),
    );
    let guest = GuestFile::new(&exit(0));
    let mut child = run(&guest)
        .args(["--timeout", "2"])
        .env(DORMIR_QEMU, program(folder.path(), &text))
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let ends = wait_for(|| child.try_wait().expect("it is a child").is_some());
    if !ends {
        child.kill().expect("it runs");
    }
    let status = child.wait().expect("it is a child");
    assert!(ends, "it waits for the monitor's end");
    assert_eq!(status.code(), Some(124));
}
