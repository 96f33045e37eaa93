use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::process::Signal;

use super::*;
use crate::process::Child;

/// A program behind a gate, which answers lines.
struct Gated {
    child: Child,
    gate: Gate,
    input: io::PipeWriter,
    output: mpsc::Receiver<String>,
}

impl Gated {
    fn new(program: &str, arguments: &[&str], reach: Reach) -> Self {
        let (reader, input) = io::pipe().unwrap();
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::piped());
        let (mut child, gate) =
            Child::spawn_gated(&mut command, reader.into(), reach).expect("it starts");
        assert!(gate.is_installed(), "this system has seccomp's listeners");
        let lines = BufReader::new(child.take_stdout().unwrap()).lines();
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self {
            child,
            gate,
            input,
            output,
        }
    }

    /// A shell that has started, and runs the script at the first line that is sent.
    fn shell(script: &str, reach: Reach) -> Self {
        let shell = Self::new(
            "/bin/sh",
            &["-c", &format!("echo up; read go; {script}")],
            reach,
        );
        shell.answer("up");
        shell
    }

    fn send(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// Returns the next line that contains the words.
    fn answer(&self, words: &str) -> String {
        loop {
            let line = self.output.recv_timeout(Duration::from_secs(20));
            let line = line.unwrap_or_else(|_| panic!("nothing says {words:?}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    fn end(mut self) -> (ExitStatus, Option<String>) {
        drop(self.input);
        while !self.child.has_ended().unwrap() {
            thread::sleep(Duration::from_millis(1));
        }
        let status = self.child.reap().unwrap();
        (status, self.gate.forbidden().map(str::to_owned))
    }
}

#[test]
fn an_open_gate_refuses_nothing() {
    let mut program = Gated::shell("read x < /etc/passwd; /bin/echo \"$x\"", Reach::Nothing);
    program.send("go");
    program.answer("root");
    let (status, forbidden) = program.end();
    assert!(
        status.success() && forbidden.is_none(),
        "{status} {forbidden:?}"
    );
}

#[test]
fn behind_a_closed_gate_no_file_opens_and_all_else_goes_on() {
    let script = "echo closed; read x < /etc/passwd || echo none; read rest; exit 7";
    let mut program = Gated::shell(script, Reach::Nothing);
    program.gate.close();
    program.send("go");
    program.answer("closed");
    program.answer("none");
    let (status, forbidden) = program.end();
    assert_eq!((status.code(), forbidden), (Some(7), None));
}

#[test]
fn behind_a_closed_gate_starting_a_program_is_the_end() {
    for (script, call) in [
        ("/bin/true; echo ran", "fork"),
        ("exec /bin/echo ran", "execve"),
    ] {
        let mut program = Gated::shell(script, Reach::Nothing);
        program.gate.close();
        program.send("go");
        let output = program.output.recv();
        let (status, forbidden) = program.end();
        assert!(output.is_err(), "{output:?}");
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
        let forbidden = forbidden.expect("it is said");
        // A C library forks by one of several calls.
        let expected = [call, "clone", "vfork"].contains(&&*forbidden);
        assert!(expected, "{forbidden}");
    }
}

#[test]
fn with_a_network_only_the_addresses_of_resolvers_open() {
    let script =
        format!("read x < {RESOLVERS} && echo \"resolvers $x\"; read x < /etc/passwd || echo none");
    let first = std::fs::read_to_string(RESOLVERS).expect("this host has resolvers");
    let first = first.lines().next().expect("a line").to_owned();
    let mut program = Gated::shell(&script, Reach::Network);
    program.gate.close();
    program.send("go");
    assert_eq!(program.answer("resolvers"), format!("resolvers {first}"));
    program.answer("none");
    let (_, forbidden) = program.end();
    assert_eq!(forbidden, None);
}

/// QEMU itself does by its monitor what a guest in it must not.
mod qemu {
    use super::*;

    fn start(reach: Reach) -> Gated {
        let arguments = [
            "-M",
            "none",
            "-nodefaults",
            "-display",
            "none",
            "-qmp",
            "stdio",
        ];
        let mut qemu = Gated::new("qemu-system-x86_64", &arguments, reach);
        qemu.send(r#"{"execute": "qmp_capabilities"}"#);
        qemu.answer(r#""return""#);
        qemu
    }

    const OPEN: &str = r#"{"execute": "object-add", "arguments": {"qom-type":
        "memory-backend-file", "id": "m", "size": 4096, "mem-path": "/etc/passwd"}}"#;

    const LISTEN: &str = r#"{"execute": "chardev-add", "arguments": {"id": "c", "backend": {"type":
        "socket", "data": {"server": true, "wait": false, "addr": {"type": "inet", "data": {"host":
        "127.0.0.1", "port": "0"}}}}}}"#;

    const EXECUTE: &str = r#"{"execute": "migrate", "arguments": {"uri": "exec:cat"}}"#;

    #[test]
    fn opens_no_file_once_its_guest_runs() {
        let mut qemu = start(Reach::Nothing);
        qemu.gate.close();
        qemu.send(OPEN);
        let refused = qemu.answer(r#""error""#);
        assert!(refused.contains("not permitted"), "{refused}");
        qemu.send(r#"{"execute": "quit"}"#);
        let (status, forbidden) = qemu.end();
        assert_eq!((status.code(), forbidden), (Some(0), None));
    }

    #[test]
    fn is_ended_if_it_makes_a_socket_or_a_process() {
        for (command, calls) in [
            (LISTEN, &["socket"][..]),
            (EXECUTE, &["clone", "fork", "vfork", "pipe"]),
        ] {
            let mut qemu = start(Reach::Nothing);
            qemu.gate.close();
            qemu.send(command);
            let (status, forbidden) = qemu.end();
            assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{command}");
            let forbidden = forbidden.expect("it is said");
            assert!(calls.contains(&&*forbidden), "{forbidden}");
        }
    }

    /// What is refused above is what QEMU can do otherwise.
    #[test]
    fn does_all_that_behind_an_open_gate() {
        let mut qemu = start(Reach::Nothing);
        for command in [LISTEN, EXECUTE] {
            qemu.send(command);
            qemu.answer(r#""return""#);
        }
        qemu.send(OPEN);
        let answer = qemu.answer("{");
        assert!(!answer.contains("not permitted"), "{answer}");
        qemu.send(r#"{"execute": "quit"}"#);
        let (_, forbidden) = qemu.end();
        assert_eq!(forbidden, None);
    }
}
