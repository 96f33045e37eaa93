//! Standard input: what arrives at a guest's serial line, and the shell that reads it.

use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use dormir_harness::vmm::{self, GuestInput, Outcome, Vmm};
use libtest_mimic::{Failed, Trial};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

use crate::guest::{LIMIT, Run, boot, config, image_of, on_every_vmm};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = on_every_vmm("input:any-bytes", any_bytes);
    trials.extend(on_every_vmm("input:nothing", nothing));
    trials.extend(on_every_vmm("input:reopened", reopened));
    trials.extend(on_every_vmm("input:slow-console", slow_console));
    trials.extend(on_every_vmm("input:shell", shell));
    trials.extend(on_every_vmm("input:not-read", not_read));
    trials.push(Trial::test(format!("{}::input:page", Vmm::Kvm), || {
        page(Vmm::Kvm)
    }));
    for vmm in ["kvm", "qemu-tcg"] {
        // The command line's names are those of accelerators.
        let machine = if vmm == "kvm" {
            "kvm"
        } else {
            "qemu-tcg/microvm"
        };
        for mode in [Mode::Line, Mode::Raw] {
            let name = format!("{machine}::input:terminal:{mode:?}");
            trials.push(Trial::test(name, move || terminal(vmm, mode)));
        }
    }
    trials
}

fn with_input(vmm: Vmm, image: &str, input: &[u8]) -> Result<(Run, Vec<u8>), Failed> {
    let mut config = config(vmm, "");
    config.input = Some(GuestInput::from_bytes(input)?);
    let mut console = Vec::new();
    let report = vmm::run(image_of(image)?, &config, &mut console)?;
    let text = String::from_utf8_lossy(&console).into_owned();
    let run = Run {
        report,
        console: text,
    };
    Ok((run, console))
}

/// All bytes arrive, in their order, and the end after them.
fn any_bytes(vmm: Vmm) -> Result<(), Failed> {
    // Each pair of bytes that follow one another, the harness's escapes among them.
    let bytes: Vec<u8> = (0..=u8::MAX)
        .flat_map(|one| {
            (0..=u8::MAX)
                .step_by(15)
                .flat_map(move |other| [one, other])
        })
        .collect();
    let (run, console) = with_input(vmm, "echo", &bytes)?;
    let run = run.succeeded()?;
    run.check(console == bytes, "other bytes came back")?;
    let (count, overruns) = (run.stat("bytes")?, run.stat("overruns")?);
    run.check(
        (count, overruns) == (bytes.len() as u64, 0),
        &format!("{count} bytes and {overruns} overruns"),
    )
}

/// The program of docs/io.md: a line comes back, and the guest ends with its input.
fn page(vmm: Vmm) -> Result<(), Failed> {
    let line = "what is sent comes back\n";
    let (run, _) = with_input(vmm, "hello-serial", line.as_bytes())?;
    let run = run.succeeded()?;
    run.check(run.console == line, "another line came back")
}

/// An input may end at once.
fn nothing(vmm: Vmm) -> Result<(), Failed> {
    let (run, _) = with_input(vmm, "echo", b"")?;
    let run = run.succeeded()?;
    run.check(run.console.is_empty(), "something was written")
}

/// A line that is closed and opened again goes on where it was.
fn reopened(vmm: Vmm) -> Result<(), Failed> {
    let mut config = config(vmm, "reopen");
    config.input = Some(GuestInput::from_bytes(&[b'a'; 1000])?);
    let run = boot("echo", &config)?.succeeded()?;
    run.check(run.console == "a".repeat(1000), "other bytes came back")
}

/// A console that takes nothing for a while, when the input has ended long since.
struct SlowConsole {
    bytes: Vec<u8>,
    opens: Instant,
}

impl Write for SlowConsole {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if Instant::now() < self.opens {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The UART waits for the console, and the guest for the UART: nothing is lost, also when the input
/// has ended meanwhile.
fn slow_console(vmm: Vmm) -> Result<(), Failed> {
    // Their answers are more than the pipes hold.
    const TIMES: usize = 300;
    let mut config = config(vmm, "");
    config.input = Some(GuestInput::from_bytes("help\n".repeat(TIMES).as_bytes())?);
    let mut console = SlowConsole {
        bytes: Vec::new(),
        opens: Instant::now() + Duration::from_secs(8),
    };
    let report = vmm::run(image_of("shell")?, &config, &mut console)?;
    let run = Run {
        report,
        console: String::from_utf8_lossy(&console.bytes).into_owned(),
    };
    let run = run.succeeded()?;
    let (banner, answers) = run.console.split_once("> ").unwrap_or_default();
    let (answer, _) = answers.split_once("> ").unwrap_or_default();
    let expected = format!("{banner}{}> \n", format!("> {answer}").repeat(TIMES));
    let (length, whole) = (run.console.len(), expected.len());
    run.check(
        whole > 100_000 && run.console == expected,
        &format!("{length} bytes of {whole}"),
    )
}

/// The shell serves commands, and ends with its input.
fn shell(vmm: Vmm) -> Result<(), Failed> {
    let commands = "spawn tick\nspawn spin\nspawn jump\nsleep 1\nps\nkill 3\nkill 3\nkill x\nexit \
                    300\r\n\nno such\ntop 1\nlast line, without an end";
    let (run, _) = with_input(vmm, "shell", commands.as_bytes())?;
    let run = run.succeeded()?;
    for expected in [
        "> task 2\n> task 3\n> there is no task `jump`: see help\n",
        "1 shell",
        "2 tick",
        "3 spin",
        // It runs once.
        "no task 3 was started that runs: see ps",
        "no task x was started that runs: see ps",
        "exit takes a number from 0 to 255\n> > there is no command `no` with that: see help\n",
        "2:tick",
        "> there is no command `last` with that: see help\n> \n",
    ] {
        run.check(
            run.console.contains(expected),
            &format!("there is no {expected:?}"),
        )?;
    }
    let (run, _) = with_input(
        vmm,
        "shell",
        format!("{}\nexit 9\n", "x".repeat(300)).as_bytes(),
    )?;
    run.check(
        matches!(run.report.outcome, Outcome::Exited(9))
            && run.console.contains("a line has at most 256 bytes\n"),
        "a line that is too long is not refused",
    )
}

/// A guest that does not read ends as usual, and leaves the input.
fn not_read(vmm: Vmm) -> Result<(), Failed> {
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(b"text")?;
    let mut config = config(vmm, "");
    config.input = Some(GuestInput::new(reader));
    let input = config.input.clone();
    boot("hello", &config)?.succeeded()?;
    drop(config);
    // The reader is open as long as something holds it.
    writer.write_all(b"more")?;
    drop(input);
    if writer.write_all(b"none").is_ok() {
        return Err("something still holds the input".into());
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Line,
    Raw,
}

/// Types at a terminal, for `cargo vm run shell --stdin`.
fn terminal(vmm: &str, mode: Mode) -> Result<(), Failed> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname(&ours, Vec::new())?;
    let theirs = OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str()?)?;
    let before = rustix::termios::tcgetattr(&theirs)?;
    let option = match mode {
        Mode::Line => "--stdin",
        Mode::Raw => "--stdin=raw",
    };
    let mut child = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["vm", "run", "shell", "--vmm", vmm, option])
        .args(["--timeout", &LIMIT.as_secs().to_string()])
        .stdin(theirs.try_clone()?)
        .stdout(theirs.try_clone()?)
        .stderr(Stdio::piped())
        .spawn()?;
    let mut terminal = Terminal {
        ours: File::from(ours),
        shown: String::new(),
    };
    let typed = (|| {
        terminal.expect("lists the commands")?;
        match mode {
            Mode::Line => {
                // One key was wrong: the terminal removes it (DEL).
                terminal.press("spawn tickk\x7f\n")?;
                terminal.expect("task 2")?;
                terminal.press("exit 3")?;
                terminal.press("\n")
            }
            Mode::Raw => {
                // Ctrl-C is a key like others, and nothing is shown but what the guest writes.
                terminal.press("spawn tick\x03\r")?;
                terminal.expect("there is no task `tick\\u{3}`")?;
                terminal.press("\x1d")
            }
        }
    })();
    if typed.is_err() {
        child.kill()?;
    }
    let output = child.wait_with_output()?;
    typed?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let expected = if mode == Mode::Line { 3 } else { 130 };
    if output.status.code() != Some(expected) {
        return Err(format!("{}: {}{stderr}", output.status, terminal.shown).into());
    }
    let echoes = terminal.shown.contains("spawn tick");
    if echoes != (mode == Mode::Line) {
        return Err(format!("what was typed is shown: {echoes}\n{}", terminal.shown).into());
    }
    let after = rustix::termios::tcgetattr(&theirs)?;
    if after.local_modes != before.local_modes || after.input_modes != before.input_modes {
        return Err("the terminal is not as it was".into());
    }
    Ok(())
}

/// Our side of a terminal.
struct Terminal {
    ours: File,
    shown: String,
}

impl Terminal {
    fn press(&mut self, keys: &str) -> Result<(), Failed> {
        // As someone would.
        thread::sleep(Duration::from_millis(50));
        Ok(self.ours.write_all(keys.as_bytes())?)
    }

    /// Reads until the terminal shows `text`.
    fn expect(&mut self, text: &str) -> Result<(), Failed> {
        let mut bytes = [0; 1024];
        let end = Instant::now() + LIMIT;
        while !self.shown.contains(text) {
            let mut polled = [PollFd::new(&self.ours, PollFlags::IN)];
            let second = Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            if poll(&mut polled, Some(&second))? == 0 {
                if Instant::now() > end {
                    return Err(format!("there is no {text:?}: {}", self.shown).into());
                }
                continue;
            }
            let length = self.ours.read(&mut bytes)?;
            self.shown += &String::from_utf8_lossy(&bytes[..length]);
        }
        Ok(())
    }
}
