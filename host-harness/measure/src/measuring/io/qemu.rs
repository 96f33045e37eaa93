//! A guest under QEMU, as it is booted for each server alike: the command line differs in what is
//! booted, and on microvm in how devices are found.

use super::{GuestError, servers::Boot, tsc};
use dormir_harness::{
    process::{Child, Scope},
    vmm::{Accelerator, MachineType, qemu},
};
use serde_json::{Value, json};
use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long QEMU's monitor may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest line that is read, and how many wait until they are looked at. A guest that prints
/// more waits.
const LONGEST_LINE: u64 = 4096;
const MOST_LINES: usize = 1024;

/// A machine without its guest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine<'a> {
    pub(super) accelerator: Accelerator,
    pub(super) machine: MachineType,
    pub(super) memory_mib: u32,
    /// The port of this host that leads to the guest's port 80, if it has a network.
    pub(super) port: Option<u16>,
    /// The file of its disk, if it has one.
    pub(super) disk: Option<&'a Path>,
    /// Whether QEMU counts instructions.
    pub(super) counts: bool,
}

/// A guest that runs. It is ended when this is dropped.
#[derive(Debug)]
pub(super) struct Qemu {
    _child: Child,
    monitor: ChildStdin,
    answers: Receiver<String>,
    console: Receiver<String>,
    started: Instant,
    /// Has QEMU's process ID, and what it records.
    folder: TempDir,
}

impl Machine<'_> {
    /// Starts the guest.
    pub(super) fn start(&self, boot: &Boot) -> Result<Qemu, GuestError> {
        let folder = tempfile::tempdir().map_err(GuestError::Resource)?;
        let program = env::var_os(qemu::PROGRAM_VARIABLE).filter(|name| !name.is_empty());
        let mut command = Command::new(program.unwrap_or_else(|| "qemu-system-x86_64".into()));
        command
            .args(self.arguments(boot, folder.path()))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = Child::spawn_with(&mut command, Stdio::piped(), Scope::Group)
            .map_err(GuestError::Resource)?;
        let (tell_answers, answers) = sync_channel(MOST_LINES);
        let (tell_console, console) = sync_channel(MOST_LINES);
        let output = child.take_stdout().expect("it is a pipe");
        let messages = child.take_stderr().expect("it is a pipe");
        // They end with QEMU.
        thread::spawn(move || forward(output, &tell_answers));
        thread::spawn(move || forward(messages, &tell_console));
        let mut guest = Qemu {
            monitor: child.take_stdin().expect("it is a pipe"),
            _child: child,
            answers,
            console,
            started,
            folder,
        };
        guest.ask("qmp_capabilities")?;
        Ok(guest)
    }

    fn arguments(&self, boot: &Boot, folder: &Path) -> Vec<OsString> {
        let mut line: Vec<OsString> = Vec::new();
        let mut add = |words: &[&str]| line.extend(words.iter().map(OsString::from));
        // As the harness runs guests: only the devices named here.
        add(&["-nodefaults", "-no-user-config", "-display", "none"]);
        add(&["-no-reboot", "-smp", "1"]);
        add(&["-m", &format!("{}M", self.memory_mib)]);
        let acceleration = match self.accelerator {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg",
        };
        let (machine, bus) = match self.machine {
            MachineType::Q35 => ("q35".into(), "pci"),
            MachineType::Microvm => {
                let acpi = boot.wants_acpi(self.machine);
                let acpi = if acpi { "on" } else { "off" };
                let machine = format!("microvm,pit=on,pic=on,rtc=on,isa-serial=off,acpi={acpi}");
                add(&["-global", "virtio-mmio.force-legacy=false"]);
                (machine, "device")
            }
        };
        add(&["-machine", &format!("{machine},accel={acceleration}")]);
        add(&["-cpu", "max,arch-capabilities=off"]);
        if (self.accelerator, self.machine) == (Accelerator::Kvm, MachineType::Q35) {
            add(&["-bios", "bios-microvm.bin"]);
        }
        // The monitor is on standard input and output. QEMU's messages and what the guest prints
        // are on standard error.
        add(&["-chardev", "stdio,id=monitor,signal=off"]);
        add(&["-mon", "chardev=monitor,mode=control"]);
        for (name, device) in [
            ("console", "isa-debugcon,iobase=0xe9"),
            ("serial", "isa-serial,iobase=0x3f8,irq=4"),
        ] {
            let output = format!("file,path=/dev/stderr,append=on,id={name}");
            add(&["-chardev", &output]);
            add(&["-device", &format!("{device},chardev={name}")]);
        }
        add(&["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
        if let Some(port) = self.port {
            let network =
                format!("user,id=net,ipv6=off,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:80");
            let rom = if bus == "pci" { ",romfile=" } else { "" };
            add(&["-netdev", &network]);
            add(&["-device", &format!("virtio-net-{bus},netdev=net{rom}")]);
        }
        if let Some(disk) = self.disk {
            let file = json!({
                "driver": "file", "filename": disk, "node-name": "file", "read-only": true,
            });
            let format = "driver=raw,file=file,node-name=disk,read-only=on";
            add(&["-blockdev", &file.to_string(), "-blockdev", format]);
            add(&["-device", &format!("virtio-blk-{bus},drive=disk")]);
        }
        let mut in_folder = |option: &str, before: &str, name: &str| {
            let mut value = OsString::from(before);
            value.push(folder.join(name));
            line.extend([option.into(), value]);
        };
        in_folder("-pidfile", "", "pid");
        if self.counts {
            // It records what comes from outside, by the number of instructions before: so QEMU
            // tells that number.
            in_folder("-icount", "shift=0,sleep=on,rr=record,rrfile=", "record");
        }
        line.extend(["-kernel".into(), boot.kernel.clone().into()]);
        if let Some(initrd) = &boot.initrd {
            line.extend(["-initrd".into(), initrd.clone().into()]);
        }
        let words = match (&boot.initrd, self.accelerator) {
            (Some(_), Accelerator::Tcg) => {
                format!("{} {}", tsc::words_for_linux(self.counts), boot.arguments)
            }
            _ => boot.arguments.to_owned(),
        };
        line.extend(["-append".into(), words.into()]);
        line
    }
}

/// Sends lines on, until there are no more or nobody takes them.
fn forward(source: impl Read, lines: &SyncSender<String>) {
    let mut source = BufReader::new(source);
    loop {
        let mut line = Vec::new();
        let read = source
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line);
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if !read.is_ok_and(|length| length > 0) || lines.send(line).is_err() {
            break;
        }
    }
}

impl Qemu {
    /// When QEMU was started.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// What the guest prints.
    pub(super) fn console(&self) -> &Receiver<String> {
        &self.console
    }

    /// How many instructions the guest has executed: only if they are counted.
    pub(super) fn instructions(&mut self) -> Result<u64, GuestError> {
        let answer = self.ask("query-replay")?;
        let count = answer["icount"]
            .as_u64()
            .filter(|_| answer["mode"] == "record");
        count.ok_or_else(|| GuestError::Monitor(format!("it counts nothing: {answer}")))
    }

    /// The memory of QEMU's process, its own and the guest's, in bytes; `None` where the system
    /// does not tell.
    pub(super) fn resident(&self) -> Option<u64> {
        let process = fs::read_to_string(self.folder.path().join("pid")).ok()?;
        let status = fs::read_to_string(format!("/proc/{}/status", process.trim())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib << 10)
    }

    fn ask(&mut self, command: &str) -> Result<Value, GuestError> {
        let question = json!({ "execute": command });
        let sent = writeln!(self.monitor, "{question}");
        let end = Instant::now() + PATIENCE;
        while sent.is_ok() {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.answers.recv_timeout(left) else {
                break;
            };
            let mut message: Value = serde_json::from_str(&line)
                .map_err(|error| GuestError::Monitor(format!("{line}: {error}")))?;
            if message.get("error").is_some() {
                return Err(GuestError::Monitor(message.to_string()));
            }
            // What is no answer is the greeting, or an event.
            if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            }
        }
        Err(GuestError::ended(&self.console))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The options with their values.
    fn options(machine: MachineType, counts: bool, boot: &Boot) -> Vec<(String, String)> {
        let machine = Machine {
            accelerator: Accelerator::Tcg,
            machine,
            memory_mib: 256,
            port: Some(8080),
            disk: Some(Path::new("a,b")),
            counts,
        };
        let words = machine.arguments(boot, Path::new("/folder"));
        let words = words.into_iter().map(|word| word.into_string());
        let words: Vec<String> = words.map(|word| word.expect("text")).collect();
        let mut words = words.into_iter().peekable();
        let mut options = Vec::new();
        while let Some(option) = words.next() {
            let value = words.next_if(|word| !word.starts_with('-'));
            options.push((option, value.unwrap_or_default()));
        }
        options
    }

    fn boots() -> [Boot; 2] {
        let linux = Boot {
            kernel: "vmlinuz".into(),
            initrd: Some("initrd".into()),
            arguments: "quiet -- disk",
        };
        [Boot::guest("guest".into()), linux]
    }

    #[test]
    fn machines_differ_in_what_they_boot_alone() {
        let is_of_boot =
            |(option, _): &(String, String)| ["-kernel", "-initrd", "-append"].contains(&&**option);
        for (machine, options_that_differ) in [
            (MachineType::Q35, &[][..]),
            (MachineType::Microvm, &["-machine"]),
        ] {
            let [guest, linux] = boots().map(|boot| options(machine, false, &boot));
            let others = |all: &[(String, String)]| -> Vec<(String, String)> {
                let others = all.iter().filter(|option| !is_of_boot(option));
                others.cloned().collect()
            };
            let (guest, linux) = (others(&guest), others(&linux));
            let differ: Vec<&str> = guest
                .iter()
                .zip(&linux)
                .filter(|(one, other)| one != other)
                .map(|((option, _), _)| &**option)
                .collect();
            assert_eq!(guest.len(), linux.len());
            assert_eq!(differ, options_that_differ);
        }
    }

    #[test]
    fn linux_is_told_its_clock_before_the_words_of_its_program() {
        let [guest, linux] = boots().map(|boot| options(MachineType::Q35, true, &boot));
        let value = |options: &[(String, String)], name: &str| {
            let found = options.iter().find(|(option, _)| option == name);
            found.map(|(_, value)| value.clone())
        };
        assert_eq!(value(&guest, "-append").as_deref(), Some(""));
        let told = "tsc=reliable tsc_early_khz=1000000 quiet -- disk";
        assert_eq!(value(&linux, "-append").as_deref(), Some(told));
        let counts = "shift=0,sleep=on,rr=record,rrfile=/folder/record";
        for options in [&guest, &linux] {
            assert_eq!(value(options, "-icount").as_deref(), Some(counts));
        }
        // A comma in a file's name separates nothing.
        assert!(guest.iter().any(|(_, value)| value.contains("\"a,b\"")));
    }

    #[test]
    fn lines_are_sent_on_and_long_ones_in_pieces() {
        let text = format!("one\r\ntwo\n{}", "x".repeat(LONGEST_LINE as usize + 5));
        let (tell, told) = sync_channel(MOST_LINES);
        forward(text.as_bytes(), &tell);
        drop(tell);
        let lengths: Vec<usize> = told.iter().map(|line| line.len()).collect();
        assert_eq!(lengths, [3, 3, LONGEST_LINE as usize, 5]);
    }
}
