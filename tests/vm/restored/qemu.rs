//! A QEMU that this test stops, saves and restores: by a monitor and a debugger's connection.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread::{sleep, spawn},
    time::{Duration, Instant},
};

use libtest_mimic::Failed;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::gdb::client::Client;

/// How long QEMU may live, even if this test does not: the longest of them restores it some hundred
/// times, on a machine that may be busy.
const LIFE: &str = "1800";
/// How long an answer, or a line of the guest, may take.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Qemu {
    child: Child,
    monitor: BufReader<UnixStream>,
    /// The console's lines.
    lines: Receiver<String>,
    folder: TempDir,
}

impl Qemu {
    /// Starts QEMU with this guest, which does not run yet.
    pub(crate) fn start(image: &Path, arguments: &str, options: &[&str]) -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        let socket = |name: &str| {
            let path = folder.path().join(name);
            format!(
                "socket,id={name},path={},server=on,wait=off",
                path.display()
            )
        };
        let program = env::var("DORMIR_QEMU").unwrap_or_else(|_| "qemu-system-x86_64".into());
        let mut child = Command::new("timeout")
            .args([
                "--kill-after=5",
                LIFE,
                &program,
                "-nodefaults",
                "-no-user-config",
                "-no-reboot",
            ])
            .args(["-S", "-display", "none", "-m", "32M", "-machine", "q35"])
            .args(["-cpu", "max,arch-capabilities=off"])
            .args(options)
            .args([
                "-chardev",
                &socket("monitor"),
                "-mon",
                "chardev=monitor,mode=control",
            ])
            .args(["-chardev", &socket("gdb"), "-gdb", "chardev:gdb"])
            .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
            .args(["-chardev", "stdio,id=console,signal=off"])
            .args(["-device", "isa-debugcon,iobase=0xe9,chardev=console"])
            .arg("-kernel")
            .arg(image)
            .args(["-append", arguments])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        let (sender, lines) = channel();
        // It ends with QEMU.
        spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.map(|line| sender.send(line)).all(|sent| sent.is_ok())
        });
        let monitor = connect(&folder.path().join("monitor"));
        let monitor = BufReader::new(monitor.inspect_err(|_| end(&mut child))?);
        let mut qemu = Self {
            child,
            monitor,
            lines,
            folder,
        };
        qemu.command("qmp_capabilities", json!({}))?;
        Ok(qemu)
    }

    /// Attaches a debugger, which stops the guest.
    pub(crate) fn debugger(&self) -> Result<Client<UnixStream>, Failed> {
        Client::over(connect(&self.folder.path().join("gdb"))?)
    }

    /// Gives the monitor a command, and returns its answer.
    pub(crate) fn command(&mut self, name: &str, arguments: Value) -> Result<Value, Failed> {
        let command = json!({ "execute": name, "arguments": arguments });
        writeln!(self.monitor.get_mut(), "{command}")?;
        loop {
            let mut line = String::new();
            if self.monitor.read_line(&mut line)? == 0 {
                return Err(format!("QEMU ended before it answered {command}").into());
            }
            let mut message: Value = serde_json::from_str(&line)?;
            if !message["error"].is_null() {
                return Err(format!("{command}: {message}").into());
            }
            if !message["return"].is_null() {
                return Ok(message["return"].take());
            }
        }
    }

    /// Adds a disk with nothing in it, which takes snapshots.
    pub(crate) fn add_disk(&mut self) -> Result<(), Failed> {
        let file = self.folder.path().join("snapshots");
        std::fs::File::create(&file)?;
        // It need not outlast this process: nothing waits for the storage.
        let cache = json!({ "direct": false, "no-flush": true });
        let mut node = json!({ "driver": "file", "filename": file, "cache": cache });
        node["node-name"] = "file".into();
        self.command("blockdev-add", node)?;
        let options = json!({ "driver": "qcow2", "file": "file", "size": 1 << 20 });
        let create = json!({ "job-id": "create", "options": options });
        self.command("blockdev-create", create)?;
        self.finish("create")?;
        let mut disk = json!({ "driver": "qcow2", "file": "file", "cache": cache });
        disk["node-name"] = "snapshots".into();
        self.command("blockdev-add", disk)?;
        Ok(())
    }

    /// Saves the machine as `name`, in place of what had that name.
    pub(crate) fn save(&mut self, name: &str) -> Result<(), Failed> {
        self.human(&format!("savevm {name}"))
    }

    /// Makes the machine what it was when it was saved.
    pub(crate) fn restore(&mut self, name: &str) -> Result<(), Failed> {
        self.human(&format!("loadvm {name}"))
    }

    /// A command that prints nothing if it succeeds.
    fn human(&mut self, line: &str) -> Result<(), Failed> {
        let arguments = json!({ "command-line": line });
        match self.command("human-monitor-command", arguments)?.as_str() {
            Some("") => Ok(()),
            answer => Err(format!("{line}: {answer:?}").into()),
        }
    }

    /// Waits for the end of a job.
    fn finish(&mut self, job: &str) -> Result<(), Failed> {
        let start = Instant::now();
        loop {
            let jobs = self.command("query-jobs", json!({}))?;
            let jobs = jobs.as_array().into_iter().flatten();
            let found = jobs.into_iter().find(|found| found["id"] == job);
            let found = found.ok_or("there is no such job")?;
            if !found["error"].is_null() {
                return Err(format!("{found}").into());
            }
            if found["status"] == "concluded" {
                self.command("job-dismiss", json!({ "id": job }))?;
                return Ok(());
            }
            if start.elapsed() > LIMIT {
                return Err(format!("{found} takes too long").into());
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// Returns the guest's next line.
    pub(crate) fn line(&mut self) -> Result<String, Failed> {
        let line = self.lines.recv_timeout(LIMIT);
        Ok(line.map_err(|_| "the guest printed nothing more: it sleeps, or has ended")?)
    }

    /// Waits for QEMU's end, and returns its status.
    pub(crate) fn end(&mut self) -> Result<Option<i32>, Failed> {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            sleep(Duration::from_millis(10));
        }
        Err("the guest does not end".into())
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = writeln!(self.monitor.get_mut(), r#"{{"execute": "quit"}}"#);
        if self.end().is_err() {
            end(&mut self.child);
        }
    }
}

/// Ends QEMU: `timeout` passes the signal on, and kills it soon after.
fn end(child: &mut Child) {
    // It fails only if it has ended.
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
    let _ = child.wait();
}

/// Connects to a socket that QEMU makes at its start.
fn connect(path: &Path) -> Result<UnixStream, Failed> {
    let start = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => {
                stream.set_read_timeout(Some(LIMIT))?;
                return Ok(stream);
            }
            Err(error) if start.elapsed() > LIMIT => return Err(error.into()),
            Err(_) => sleep(Duration::from_millis(10)),
        }
    }
}
