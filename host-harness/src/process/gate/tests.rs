use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use libc::c_long;
use rustix::process::{Pid, Signal, getppid};

use super::*;
use crate::process::Child;

const LIMIT: Duration = Duration::from_secs(20);

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
            let line = self.output.recv_timeout(LIMIT);
            let line = line.unwrap_or_else(|_| panic!("nothing says {words:?}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    fn end(mut self) -> (ExitStatus, Option<String>) {
        drop(self.input);
        let asked = Instant::now();
        while !self.child.has_ended().unwrap() {
            assert!(asked.elapsed() < LIMIT, "it does not end");
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
    let script = "echo closed; { read x < /etc/passwd; } 2>&- || echo none; read rest; exit 7";
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
        let output = program.output.recv_timeout(LIMIT);
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
    let script = format!(
        "read x < {RESOLVERS} && echo \"resolvers $x\"; {{ read x < /etc/passwd; }} 2>&- || \
         echo none"
    );
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

/// Names what [`acts_as_it_is_told`] does in a process of its own.
const ACT: &str = "DORMIR_GATED_ACT";

/// What a program that is broken into could try without a new file, socket or program.
fn act(what: &str) -> io::Result<()> {
    let own_id = std::process::id().cast_signed();
    let result = |returned: c_long| match returned {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    };
    let socket = |domain| {
        // SAFETY: it has no conditions.
        result(unsafe { libc::socket(domain, libc::SOCK_STREAM, 0) }.into())
    };
    let of_input = |request, value: i32| {
        // SAFETY: neither of these requests takes a pointer.
        result(unsafe { libc::fcntl(0, request, value) }.into())
    };
    let ioctl_of_input = |request| {
        // SAFETY: none of these requests is carried out: standard input is a pipe.
        result(unsafe { libc::ioctl(0, request, &raw const own_id) }.into())
    };
    match what {
        "signal-own-process" => {
            // SAFETY: signal 0 is none.
            result(unsafe { libc::kill(own_id, 0) }.into())
        }
        "signal-own-thread" => {
            // SAFETY: as above.
            result(unsafe { libc::syscall(libc::SYS_tkill, own_id, 0) })
        }
        "thread" => {
            thread::spawn(|| ()).join().expect("it does not panic");
            Ok(())
        }
        "threads-without-end" => {
            let paused = || thread::Builder::new().spawn(|| thread::sleep(LIMIT));
            let last = std::iter::repeat_with(paused)
                .take(2 * MOST_THREADS)
                .find_map(Result::err);
            last.map_or(Ok(()), Err)
        }
        "flags" => of_input(libc::F_SETFL, libc::O_NONBLOCK),
        "socket-of-ipv4" => socket(libc::AF_INET),
        "socket-of-unix" => socket(libc::AF_UNIX),
        "unlink" => fs::remove_file("/nonexistent/file"),
        "signal-another-process" => {
            let parent = getppid().map_or(1, Pid::as_raw_pid);
            // SAFETY: as above.
            result(unsafe { libc::kill(parent, 0) }.into())
        }
        "signal-all" => {
            // SAFETY: as above.
            result(unsafe { libc::kill(-1, 0) }.into())
        }
        "signal-when-readable" => of_input(libc::F_SETOWN, own_id),
        "another-signal" => of_input(10, libc::SIGKILL),
        "signal-by-ioctl" => ioctl_of_input(0x8901),
        "type" => ioctl_of_input(libc::TIOCSTI),
        "terminal" => ioctl_of_input(libc::TCGETS),
        "terminal-of-another-library" => ioctl_of_input(libc::TCSETS2),
        // `SIOCSIFMTU` and `FS_IOC_SETFLAGS`.
        "network-settings" => ioctl_of_input(0x8922),
        "file-settings" => ioctl_of_input(0x4008_6602),
        "connect-by-sending" => {
            let flags = libc::MSG_FASTOPEN;
            // SAFETY: the buffer is empty, and there is no address.
            result(unsafe { libc::sendto(0, [].as_ptr(), 0, flags, std::ptr::null(), 0) } as _)
        }
        other => panic!("{other} is not known"),
    }
}

/// In the process of the tests it does nothing.
#[test]
fn acts_as_it_is_told() {
    let Some(what) = std::env::var_os(ACT) else {
        return;
    };
    println!("\nup");
    io::stdin().read_line(&mut String::new()).unwrap();
    match act(what.to_str().unwrap()) {
        Ok(()) => println!("done"),
        Err(error) => println!("error {}", error.raw_os_error().unwrap_or(0)),
    }
}

/// Does this behind a closed gate; returns what it says, or for which system call it was ended.
fn behind(reach: Reach, what: &str) -> Result<String, String> {
    let program = std::env::current_exe().unwrap();
    let script = format!(
        "{ACT}={what} exec {} --exact process::gate::tests::acts_as_it_is_told --nocapture",
        program.display()
    );
    let mut program = Gated::new("/bin/sh", &["-c", &script], reach);
    program.answer("up");
    program.gate.close();
    program.send("go");
    let said = program.output.recv_timeout(LIMIT);
    let (_, forbidden) = program.end();
    match forbidden {
        Some(call) => Err(call),
        None => Ok(said.expect("it says something")),
    }
}

#[test]
fn what_a_program_does_to_itself_goes_on() {
    for what in ["signal-own-process", "signal-own-thread", "thread", "flags"] {
        assert_eq!(behind(Reach::Nothing, what), Ok("done".into()), "{what}");
    }
}

#[test]
fn what_acts_on_others_is_the_end_however_it_is_done() {
    for (what, call) in [
        ("signal-another-process", "kill"),
        ("signal-all", "kill"),
        ("signal-when-readable", "fcntl"),
        ("another-signal", "fcntl"),
        ("signal-by-ioctl", "ioctl"),
        ("type", "ioctl"),
        ("network-settings", "ioctl"),
        ("file-settings", "ioctl"),
    ] {
        assert_eq!(behind(Reach::Nothing, what), Err(call.into()), "{what}");
    }
}

/// It has none. QEMU looks for one, and sets it at its end.
#[test]
fn a_terminal_may_be_asked_for_and_set() {
    let none = format!("error {}", libc::ENOTTY);
    for what in ["terminal", "terminal-of-another-library"] {
        assert_eq!(behind(Reach::Nothing, what), Ok(none.clone()), "{what}");
    }
}

#[test]
fn threads_are_bounded() {
    let refused = format!("error {}", libc::EAGAIN);
    assert_eq!(behind(Reach::Nothing, "threads-without-end"), Ok(refused));
}

#[test]
fn no_connection_is_made_by_sending() {
    for reach in [Reach::Nothing, Reach::Network] {
        assert_eq!(behind(reach, "connect-by-sending"), Err("sendto".into()));
    }
}

#[test]
fn with_a_network_sockets_lead_to_no_program_of_this_host() {
    let refused = format!("error {}", libc::EAFNOSUPPORT);
    assert_eq!(behind(Reach::Network, "socket-of-unix"), Ok(refused));
    assert_eq!(behind(Reach::Network, "socket-of-ipv4"), Ok("done".into()));
    assert_eq!(
        behind(Reach::Nothing, "socket-of-ipv4"),
        Err("socket".into())
    );
}

#[test]
fn files_are_not_removed() {
    let refused = format!("error {}", libc::EPERM);
    assert_eq!(behind(Reach::Nothing, "unlink"), Ok(refused));
}

/// As QEMU behind a script: the filter knows the script's ID.
#[test]
fn a_program_that_another_one_started_may_signal_itself() {
    let script = "/bin/sh -c 'echo up; read go; kill -0 $$ && echo own; kill -0 1' & wait";
    let mut program = Gated::new(
        "/bin/sh",
        &[
            "-c",
            &format!("exec 3<&0; {script}").replace("read go", "read go <&3"),
        ],
        Reach::Nothing,
    );
    program.answer("up");
    program.gate.close();
    program.send("go");
    program.answer("own");
    let (_, forbidden) = program.end();
    assert_eq!(forbidden.as_deref(), Some("kill"));
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
