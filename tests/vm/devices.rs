//! Virtio devices: the drivers of `dormir-virtio`, and the devices that the harness gives a guest.

use std::{
    env, fs,
    io::{self, Read, Write},
    os::unix::net::UnixListener,
    process::Command,
    thread,
    time::Duration,
};

use dormir_harness::vmm::{self, Accelerator, Device, GuestInput, MachineType, Vmm};
use libtest_mimic::{Failed, Trial};
use tempfile::NamedTempFile;

use crate::guest::{boot, config, image_of};

/// Of the case `drops`: the regions to which it writes, how many sectors they have, and how far
/// they are apart.
const REGIONS: usize = 48;
const REGION: usize = 8;
const DISTANCE: usize = (4 << 20) / 512 / REGIONS;

type Case = (&'static str, fn(Vmm) -> Result<(), Failed>);

const CASES: [Case; 9] = [
    ("rng", |vmm| runs(vmm, "case=rng", vec![Device::Rng])),
    ("disk", disk),
    ("read-only", read_only),
    ("drops", drops),
    ("dropped", dropped),
    ("console", console),
    ("flood", flood),
    ("none", none),
    ("demo", demo),
];

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |vmm, name, case: fn(Vmm) -> Result<(), Failed>| {
        Trial::test(format!("{vmm}::devices:{name}"), move || case(vmm))
    };
    let is_full_possible = mounts_are_allowed();
    let mut trials = Vec::new();
    for vmm in Vmm::ALL {
        trials.extend(CASES.map(|(name, case)| trial(vmm, name, case)));
        trials.push(trial(vmm, "full", full).with_ignored_flag(!is_full_possible));
        // The page's programs look for devices on virtio-mmio.
        if !matches!(vmm, Vmm::Qemu(_, MachineType::Q35)) {
            trials.push(trial(vmm, "page", page));
        }
    }
    for vmm in [Vmm::Kvm, Vmm::Qemu(Accelerator::Tcg, MachineType::Microvm)] {
        trials.push(trial(vmm, "console-page", console_page));
    }
    trials
}

/// What makes a namespace in which this user may mount.
const NAMESPACE: [&str; 4] = ["unshare", "--user", "--map-root-user", "--mount"];

fn mounts_are_allowed() -> bool {
    let [program, arguments @ ..] = NAMESPACE;
    let mut mount = Command::new(program);
    mount
        .args(arguments)
        .args(["mount", "-t", "tmpfs", "none", "/mnt"]);
    mount.output().is_ok_and(|output| output.status.success())
}

/// Runs the guest with these devices to its successful end.
fn runs(vmm: Vmm, arguments: &str, devices: Vec<Device>) -> Result<(), Failed> {
    let mut config = config(vmm, arguments);
    config.devices = devices;
    boot("devices", &config)?.succeeded()?;
    Ok(())
}

/// A disk of 4 MiB, with a pattern.
fn disk_file() -> Result<NamedTempFile, Failed> {
    let mut file = NamedTempFile::new()?;
    let bytes: Vec<u8> = (0..4_u32 << 20).map(|place| (place / 512) as u8).collect();
    file.write_all(&bytes)?;
    Ok(file)
}

fn device(file: &NamedTempFile, read_only: bool) -> Device {
    Device::Disk {
        path: file.path().to_owned(),
        read_only,
    }
}

/// The guest writes and reads back; the file changes, and keeps its length.
fn disk(vmm: Vmm) -> Result<(), Failed> {
    let file = disk_file()?;
    let before = fs::read(file.path())?;
    runs(vmm, "case=disk", vec![device(&file, false)])?;
    let after = fs::read(file.path())?;
    if after.len() == before.len() && after != before {
        Ok(())
    } else {
        Err(format!(
            "{} bytes became {}, or none changed",
            before.len(),
            after.len()
        )
        .into())
    }
}

/// The guest can read, and change nothing.
fn read_only(vmm: Vmm) -> Result<(), Failed> {
    let file = disk_file()?;
    let before = fs::read(file.path())?;
    runs(vmm, "case=read-only", vec![device(&file, true)])?;
    if fs::read(file.path())? == before {
        Ok(())
    } else {
        Err("a disk that is read-only was changed".into())
    }
}

/// Writes fail when the host's file system is full, and the guest goes on. It is one of 256 KiB, in
/// a process that has file systems of its own.
fn full(vmm: Vmm) -> Result<(), Failed> {
    const FOLDER: &str = "DORMIR_TEST_SMALL_FOLDER";
    let Some(folder) = env::var_os(FOLDER) else {
        let folder = tempfile::tempdir()?;
        let mount = "mount -t tmpfs -o size=256k none \"$1\" && exec \"$2\" --exact \"$3\"";
        let [program, arguments @ ..] = NAMESPACE;
        let output = Command::new(program)
            .args(arguments)
            .args(["sh", "-c", mount, "sh"])
            .arg(folder.path())
            .arg(env::current_exe()?)
            .arg(format!("{vmm}::devices:full"))
            .env(FOLDER, folder.path())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if text.contains("1 passed") {
            return Ok(());
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{text}{errors}").into());
    };
    let file = NamedTempFile::new_in(folder)?;
    file.as_file().set_len(1 << 20)?;
    let mut config = config(vmm, "case=full");
    config.devices = vec![device(&file, false)];
    let run = boot("devices", &config)?.succeeded()?;
    let is_there = run.stat("full_at_sector")? > 0;
    let length = fs::metadata(file.path())?.len();
    run.check(is_there && length == 1 << 20, "another length or sector")
}

/// Requests of which some are dropped at random: a hundredth of a million of each device, or as
/// many as ten seconds allow. The guest checks what it reads, and its heap; all that it does not
/// write stays. (`cargo vm soak devices` makes the million.)
fn drops(vmm: Vmm) -> Result<(), Failed> {
    let file = disk_file()?;
    let before = fs::read(file.path())?;
    let mut config = config(vmm, "case=drops requests=10000 seconds=10");
    config.devices = vec![Device::Rng, device(&file, false)];
    let run = boot("devices", &config)?.succeeded()?;
    let of = |what| -> Result<(u64, u64), Failed> {
        Ok((
            run.stat(&format!("{what}_made"))?,
            run.stat(&format!("{what}_dropped"))?,
        ))
    };
    let (rng, reads, writes) = (of("rng")?, of("reads")?, of("writes")?);
    let dropped = rng.1 + reads.1 + writes.1;
    let figures = format!("rng {rng:?}, reads {reads:?}, writes {writes:?}: made, dropped");
    println!("{vmm}: {figures}");
    // Where QEMU translates, the whole takes a second, and a quarter is dropped. A KVM that
    // emulates each instruction makes 300 of each kind in ten seconds, and 38 while other tests
    // take the processor; there a device has often answered before the first poll is over. One that
    // does not emulate makes all of them.
    let is_fast = rng.0 >= 10_000 || matches!(vmm, Vmm::Qemu(Accelerator::Tcg, _));
    let (least_made, least_dropped) = if is_fast { (4500, 3000) } else { (10, 0) };
    let is_enough = [rng.0, reads.0, writes.0]
        .iter()
        .all(|made| *made >= least_made);
    run.check(is_enough && dropped >= least_dropped, &figures)?;
    let after = fs::read(file.path())?;
    let is_written = |sector: usize| sector / DISTANCE < REGIONS && sector % DISTANCE < REGION;
    let sectors = before.chunks(512).zip(after.chunks(512)).enumerate();
    let mut kept = sectors.filter(|(sector, _)| !is_written(*sector));
    let is_kept = kept.all(|(_, (before, after))| before == after);
    run.check(
        is_kept && before.len() == after.len(),
        "the disk changed where the guest did not write",
    )
}

/// 10,000 requests are dropped while the device has them, or as many as three seconds allow. The
/// guest checks that their buffers are freed.
fn dropped(vmm: Vmm) -> Result<(), Failed> {
    // Where QEMU translates, all of them take a second. A KVM that emulates each instruction drops
    // about a hundred in three seconds: a device has often answered there before the first poll is
    // over.
    let is_fast = matches!(vmm, Vmm::Qemu(Accelerator::Tcg, _));
    let seconds = if is_fast { 100 } else { 3 };
    let arguments = format!("case=dropped requests=10000 seconds={seconds}");
    let mut config = config(vmm, arguments);
    config.devices = vec![Device::Rng];
    let run = boot("devices", &config)?.succeeded()?;
    let (made, in_flight) = (run.stat("dropped_made")?, run.stat("dropped_in_flight")?);
    let figures = format!("{made} made, of which {in_flight} were dropped in flight");
    println!("{vmm}: {figures}");
    let least = if is_fast { 10_000 } else { 0 };
    run.check(made >= 10 && in_flight >= least, &figures)
}

/// What the console receives comes back.
fn console(vmm: Vmm) -> Result<(), Failed> {
    let text = "all that is sent comes back\n".repeat(100) + "end\n";
    let mut config = config(vmm, "case=console");
    config.devices = vec![Device::Console];
    config.input = Some(GuestInput::from_bytes(text.as_bytes())?);
    let run = boot("devices", &config)?.succeeded()?;
    run.check(
        run.console == format!("ready\n{text}"),
        "other text came back",
    )
}

/// The console loses nothing of a MiB, which a guest sends faster than it is read.
fn flood(vmm: Vmm) -> Result<(), Failed> {
    let lines: String = (1..256).map(|line| format!("{line:015}\n")).collect();
    let pages = (0..256).map(|page| format!("page {page:010}\n{lines}"));
    let expected = pages.collect::<String>();
    for has_input in [false, true] {
        let mut config = config(vmm, "case=flood");
        config.devices = vec![Device::Console];
        config.input = has_input
            .then(|| GuestInput::from_bytes(b"text"))
            .transpose()?;
        let mut reader = SlowReader(Vec::new());
        let report = vmm::run(image_of("devices")?, &config, &mut reader)?;
        let (came, sent) = (reader.0.len(), expected.len());
        if !report.outcome.is_success() || reader.0 != expected.as_bytes() {
            let outcome = report.outcome;
            return Err(format!("of {sent} bytes {came} came, or others ({outcome})").into());
        }
    }
    Ok(())
}

/// Takes no more of the console for a while: more than a pipe holds is sent meanwhile.
struct SlowReader(Vec<u8>);

impl Write for SlowReader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            thread::sleep(Duration::from_millis(500));
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The demo reads and writes, one by one and more at once.
fn demo(vmm: Vmm) -> Result<(), Failed> {
    let file = disk_file()?;
    let mut config = config(vmm, "demo=disk");
    config.devices = vec![device(&file, false)];
    let run = boot("devices", &config)?.succeeded()?;
    for stat in ["reads_1", "writes_1", "reads_32", "writes_32"] {
        run.check(run.stat(stat)? > 0, "no block was read or written")?;
    }
    // A KVM that emulates each instruction is so slow that a device may always have answered before
    // the guest would halt.
    let halts = run.stat("halts")?;
    let is_fast = matches!(vmm, Vmm::Qemu(Accelerator::Tcg, _));
    run.check(halts > 0 || !is_fast, "it never halted")
}

/// Without a device the guest says so.
fn none(vmm: Vmm) -> Result<(), Failed> {
    let run = boot("devices", &config(vmm, "case=rng"))?;
    run.check(
        run.console == "no device for rng\n",
        "it does not miss the device",
    )
}

/// The program of docs/io.md.
fn page(vmm: Vmm) -> Result<(), Failed> {
    let file = disk_file()?;
    let before = fs::read(file.path())?;
    let mut config = config(vmm, "");
    config.devices = vec![Device::Rng, device(&file, false)];
    let run = boot("store-key", &config)?.succeeded()?;
    let after = fs::read(file.path())?;
    // The first sector was zeros. That 16 random bytes are, too, does not happen.
    let is_stored = after[..16] != before[..16] && after[16..] == before[16..];
    run.check(is_stored, "the disk has no key, or more than that")
}

/// The console of docs/io.md: the program takes the first one, and leaves the other alone.
fn console_page(vmm: Vmm) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("port");
    let listener = UnixListener::bind(&path)?;
    let mut config = config(vmm, "");
    config.devices = vec![Device::Console, Device::Port { path }];
    config.input = Some(GuestInput::from_bytes(b"the host\n")?);
    let run = boot("hello-console", &config)?.succeeded()?;
    run.check(
        run.console == "who is there?\nhello, the host\n",
        "another answer",
    )?;
    let mut sent = Vec::new();
    listener.accept()?.0.read_to_end(&mut sent)?;
    run.check(sent.is_empty(), "the other console was written to")
}
