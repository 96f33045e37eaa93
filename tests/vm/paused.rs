//! A VM is paused while its tasks sleep: their timers end, none early, no wake is lost, and the
//! clock does not go back.
//!
//! Under each VMM all processes of a run are stopped (SIGSTOP) and continued, so that the guest's
//! clock finds that much time gone. The run is one of this program, which starts itself. QEMU's
//! monitor also stops the machine, and its clock with it, and saves and restores it meanwhile.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Read, stdout},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use dormir_abi::exit;
use dormir_harness::vmm::{self, Vmm};
use libtest_mimic::{Failed, Trial};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::{
    guest::{config, image_of, on_every_vmm},
    restored::qemu::Qemu,
};

const PROGRAM: &str = "clock";
/// By the clock that stops with the machine.
const SOME_SECONDS: &str = "do=naps seconds=5";

/// How long the pause is.
const PAUSE: Duration = Duration::from_millis(1500);
/// The same where it is not run with every change.
const LONG_PAUSE: Duration = Duration::from_secs(10);
/// A nap that took a pause but for this was paused. One is always under way, so a whole pause is in
/// one; a little is left for the guest's clock, and for the time that it takes to stop several
/// processes.
const SLACK: Duration = Duration::from_millis(100);
/// From the first nap to the pause.
const BEFORE: Duration = Duration::from_millis(400);

/// Set in the process that is paused.
const IS_PAUSED: &str = "DORMIR_TEST_IS_PAUSED";

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = paused("paused", PAUSE);
    let long = paused("paused-for-ten-seconds", LONG_PAUSE);
    trials.extend(long.into_iter().map(|trial| trial.with_ignored_flag(true)));
    let by_monitor = "qemu-tcg/q35::paused-saved-and-restored-asleep";
    trials.push(Trial::test(by_monitor, by_the_monitor));
    trials
}

fn paused(name: &'static str, length: Duration) -> Vec<Trial> {
    on_every_vmm(name, move |vmm| match env::var_os(IS_PAUSED) {
        Some(_) => run(vmm, length),
        None => pause(&format!("{vmm}::{name}"), length),
    })
}

/// Runs the guest, and shows its console at once.
fn run(vmm: Vmm, length: Duration) -> Result<(), Failed> {
    // The naps end by the pause, at the latest after a time that even a busy machine does not need.
    let millis = (length - SLACK).as_millis();
    let config = config(vmm, format!("do=naps pause={millis} seconds=30"));
    let report = vmm::run(image_of(PROGRAM)?, &config, &mut stdout())?;
    match report.outcome.is_success() {
        true => Ok(()),
        false => Err(report.outcome.to_string().into()),
    }
}

/// Runs the same test in a process of its own, and pauses that with all that it has started.
fn pause(name: &str, length: Duration) -> Result<(), Failed> {
    let mut child = Command::new(env::current_exe()?)
        .args([name, "--exact", "--include-ignored", "--nocapture"])
        .env(IS_PAUSED, "yes")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut output = BufReader::new(child.stdout.take().ok_or("no output")?);
    let paused = wait_and_pause(&mut output, &child, length);
    let mut rest = String::new();
    output.read_to_string(&mut rest)?;
    let status = child.wait()?;
    paused?;
    let line = rest.lines().find(|line| line.starts_with("naps: "));
    let longest = line.and_then(|line| line.split("the longest ").nth(1)?.strip_suffix(" ms"));
    let longest: Option<u128> = longest.and_then(|millis| millis.parse().ok());
    println!("{name}: {}", line.unwrap_or_default());
    if !status.success() {
        return Err(format!("{status}\n{rest}").into());
    }
    if longest.is_none_or(|longest| longest < (length - SLACK).as_millis()) {
        return Err(format!("no nap was paused:\n{rest}").into());
    }
    Ok(())
}

fn wait_and_pause(
    output: &mut impl BufRead,
    child: &Child,
    length: Duration,
) -> Result<(), Failed> {
    let mut line = String::new();
    while line.trim_end() != "napping" {
        line.clear();
        if output.read_line(&mut line)? == 0 {
            return Err("the guest did not start".into());
        }
    }
    sleep(BEFORE);
    let processes = with_descendants(child.id())?;
    let stopped = send(&processes, Signal::STOP);
    sleep(length);
    send(&processes, Signal::CONT)?;
    stopped
}

/// Signals all of these processes; some may have ended.
fn send(processes: &[u32], signal: Signal) -> Result<(), Failed> {
    for process in processes {
        let pid = Pid::from_raw(i32::try_from(*process)?).ok_or("process 0")?;
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Returns a process and all that it has started.
fn with_descendants(process: u32) -> Result<Vec<u32>, Failed> {
    let mut children = BTreeMap::<u32, Vec<u32>>::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(number) = entry?.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        // Behind the name, which is in parentheses: the state and the parent.
        let status = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        let parent = status
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split(' ').nth(2));
        if let Some(parent) = parent.and_then(|parent| parent.parse().ok()) {
            children.entry(parent).or_default().push(number);
        }
    }
    let mut found = vec![process];
    let mut index = 0;
    while let Some(process) = found.get(index) {
        found.extend(children.remove(process).unwrap_or_default());
        index += 1;
    }
    Ok(found)
}

/// QEMU's monitor stops the machine, saves it asleep, and restores it.
fn by_the_monitor() -> Result<(), Failed> {
    let mut qemu = Qemu::start(image_of(PROGRAM)?, SOME_SECONDS, &["-accel", "tcg"])?;
    qemu.add_disk()?;
    qemu.command("cont", json!({}))?;
    while qemu.line()? != "napping" {}
    for _ in 0..2 {
        sleep(BEFORE);
        qemu.command("stop", json!({}))?;
        qemu.save("asleep")?;
        sleep(PAUSE / 4);
        qemu.restore("asleep")?;
        qemu.command("cont", json!({}))?;
    }
    let naps = qemu.line()?;
    println!("{naps}");
    let status = qemu.end()?;
    match status.and_then(exit::from_qemu_status) {
        Some(exit::SUCCESS) => Ok(()),
        _ => Err(format!("not ended with success: {status:?}, {naps}").into()),
    }
}
