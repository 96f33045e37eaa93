//! The watchdog of a guest: tasks that do not yield are reported, and no others. See the guest
//! program `watched`.

use std::time::Duration;

use dormir_harness::vmm::{Backtrace, Outcome, Vmm};
use libtest_mimic::{Failed, Trial};

use crate::guest::{Run, boot, config, may_lack, on_every_vmm};

const SOURCE: &str = include_str!("../../guest-image/watched/src/main.rs");
const FILE: &str = "guest-image/watched/src/main.rs";
const TASK: &str = "task watched::calls has not yielded for ";

/// Enough time to boot and hang.
const HANG_LIMIT: Duration = Duration::from_secs(5);

/// Cases in which the guest ends with success, and nothing is reported.
const QUIET: [&str; 4] = ["idles", "yields", "waits", "no-limit"];

/// Cases in which the watchdog ends the guest, and its limit in milliseconds.
const ENDED: [(&str, u64); 3] = [("loops", 500), ("blocks", 500), ("critical-section", 250)];

pub(crate) fn trials() -> Vec<Trial> {
    let quiet = QUIET
        .into_iter()
        .flat_map(|case| on_every_vmm(&format!("watchdog-{case}"), move |vmm| is_quiet(vmm, case)));
    let ended = ENDED.into_iter().flat_map(|(case, limit)| {
        on_every_vmm(&format!("watchdog-{case}"), move |vmm| {
            let run = boot("watched", &config(vmm, format!("case={case}")))?;
            is_ended(&run, case, limit)
        })
    });
    let by_timer = ["pit", "xapic", "x2apic", "tsc-deadline"]
        .into_iter()
        .flat_map(|timer| {
            on_every_vmm(&format!("watchdog-loops:{timer}"), move |vmm| {
                loops_with(vmm, timer)
            })
        });
    quiet
        .chain(ended)
        .chain(by_timer)
        .chain(on_every_vmm("watchdog-goes-on", goes_on))
        .chain(on_every_vmm("watchdog-hangs", hangs))
        .collect()
}

fn is_quiet(vmm: Vmm, case: &str) -> Result<(), Failed> {
    let run = boot("watched", &config(vmm, format!("case={case}")))?.succeeded()?;
    let is_quiet = run.report.stalls.is_empty() && !run.console.contains("watchdog");
    run.check(is_quiet, "a stall was reported")?;
    // Eight waits, each ended by its timer. The watchdog interrupts once during each of them, or
    // twice, if it was to look just when the wait began.
    let interrupts = run.stat("interrupts")?;
    run.check(
        interrupts <= 8 * 3 + 2,
        &format!("an idle guest was kept awake by {interrupts} interrupts"),
    )
}

fn is_ended(run: &Run, case: &str, limit: u64) -> Result<(), Failed> {
    let Outcome::Stalled(message) = &run.report.outcome else {
        return run.check(false, "the watchdog did not end the guest");
    };
    run.check(run.report.outcome.exit_code() == 103, "another exit code")?;
    is_report(run, message, run.report.backtrace.as_ref(), case, limit)
}

/// The message names the task and a length not far beyond the limit, and a line that is marked with
/// the case's name is in the backtrace.
fn is_report(
    run: &Run,
    message: &str,
    backtrace: Option<&Backtrace>,
    case: &str,
    limit: u64,
) -> Result<(), Failed> {
    let Some((_, length)) = message.split_once(TASK) else {
        return run.check(false, &format!("the task is not named: {message}"));
    };
    let length = millis(length).ok_or_else(|| format!("no length: {message}"))?;
    // The case `critical-section` is reported after its 500 ms. The host may be slow.
    let range = limit as f64..limit as f64 * 4.0;
    run.check(
        range.contains(&length),
        &format!("{length} ms are not about the limit"),
    )?;
    run.check(
        message.contains(FILE),
        &format!("the file is not named: {message}"),
    )?;
    let is_marked = |line: &str| {
        let marks = line.split_once("// ").map_or("", |(_, marks)| marks);
        marks.split(' ').any(|mark| mark == case)
    };
    let lines = SOURCE.lines().zip(1_u32..);
    let marked: Vec<u32> = lines
        .filter_map(|(line, number)| is_marked(line).then_some(number))
        .collect();
    let frames = backtrace.map_or(&[][..], |backtrace| &backtrace.frames);
    let is_there = frames.iter().any(|frame| {
        let location = frame.location.as_ref();
        location.is_some_and(|(file, line)| file.ends_with(FILE) && marked.contains(line))
    });
    run.check(
        is_there,
        &format!("none of the lines {marked:?} is in the backtrace: {frames:#?}"),
    )
}

/// Parses a length such as `502.4ms` or `1.1s`, up to a comma, in milliseconds.
fn millis(text: &str) -> Option<f64> {
    let text = text.split(',').next()?;
    match text.strip_suffix("ms") {
        Some(millis) => millis.parse().ok(),
        None => {
            let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
            Some(seconds * 1000.0)
        }
    }
}

/// By the interrupts of each timer.
fn loops_with(vmm: Vmm, timer: &str) -> Result<(), Failed> {
    let mut config = config(vmm, format!("case=loops timer={timer}"));
    config.pit = vmm == Vmm::Kvm && timer == "pit";
    let run = boot("watched", &config)?;
    if may_lack(vmm, timer)? && run.report.outcome.is_setup_failure() {
        return Ok(());
    }
    is_ended(&run, "loops", 500)
}

/// The guest goes on after the report, and each poll is reported once.
fn goes_on(vmm: Vmm) -> Result<(), Failed> {
    let run = boot("watched", &config(vmm, "case=goes-on"))?.succeeded()?;
    let [stall] = run.report.stalls.as_slice() else {
        let count = run.report.stalls.len();
        return run.check(false, &format!("{count} stalls were reported"));
    };
    let backtrace = stall.backtrace.as_ref();
    is_report(&run, &stall.message, backtrace, "goes-on", 250)
}

/// At the time limit, the NMI's report names for how long the task has not yielded; the watchdog's
/// is there too.
fn hangs(vmm: Vmm) -> Result<(), Failed> {
    let mut config = config(vmm, "case=hangs");
    config.timeout = HANG_LIMIT;
    let run = boot("watched", &config)?;
    let [stall] = run.report.stalls.as_slice() else {
        let count = run.report.stalls.len();
        return run.check(false, &format!("{count} stalls were reported"));
    };
    is_report(&run, &stall.message, stall.backtrace.as_ref(), "hangs", 500)?;
    let Outcome::TimedOut {
        place: Some(place), ..
    } = &run.report.outcome
    else {
        return run.check(false, "the guest did not reach its time limit");
    };
    let expected = "running task watched::calls, which has not yielded for ";
    let length = place.strip_prefix(expected).and_then(millis);
    let is_right = length.is_some_and(|length| (500.0..=16_000.0).contains(&length));
    run.check(is_right, &format!("the hang is not described: {place}"))
}
