//! All processes that the command has started end with it, however it ends.

use crate::support::FakeMachine;
use rustix::process::{Pid, Signal, kill_process};
use std::{io::Read, os::unix::process::ExitStatusExt, process::Stdio};

/// A process that is still running shows on the pipe, which closes once no process holds it.
fn ends_all(verb: &[&str], signal: Signal) {
    let machine = FakeMachine::that_builds();
    machine.script("qemu-system-x86_64", "echo 'QEMU emulator version 9.9.9'");
    machine.script(
        "cargo",
        "trap '' TERM\n(trap '' TERM; sleep 1000) &\nsetsid sleep 1000 &\n(setsid sleep 1000 &)\n\
         echo started >&2; sleep 1000; sleep 1000",
    );
    let (mut child, mut stderr) = machine.start(verb);
    kill_process(Pid::from_child(&child), signal).expect("it can be signalled");
    let status = child.wait().expect("it ends");
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("the pipe closes");
    match signal {
        Signal::TERM => assert_eq!(status.code(), Some(130), "{rest}"),
        signal => assert_eq!(status.signal(), Some(signal.as_raw()), "{rest}"),
    }
}

#[test]
fn a_command_that_is_killed_leaves_nothing_running() {
    for signal in [Signal::KILL, Signal::USR1, Signal::TERM] {
        ends_all(&["test"], signal);
        ends_all(&["demo", "--vmm", "qemu-tcg"], signal);
    }
}

#[test]
fn a_process_outside_a_builds_session_does_not_block_it() {
    let machine = FakeMachine::that_builds();
    machine.script("qemu-system-x86_64", "echo 'QEMU emulator version 9.9.9'");
    machine.script("cargo", "setsid sleep 1000 &\nexit 3");
    let mut child = machine
        .std_command()
        .arg("test")
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stderr = String::new();
    let mut pipe = child.stderr.take().expect("a pipe");
    pipe.read_to_string(&mut stderr).expect("the pipe closes");
    assert_eq!(child.wait().expect("it ends").code(), Some(3), "{stderr}");
}
