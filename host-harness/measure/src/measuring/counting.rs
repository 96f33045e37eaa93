//! Counts everything that `--counts` shows.

use super::{Failure, Measured, counts, machine, progress::Progress, run_guest, sleeps, versions};
use crate::document::counts::{CountsDocument, RUNTIMES};
use dormir_harness::{
    guest::Images,
    toolchain::GuestToolchain,
    vmm::{Outcome, StopToken, kvm},
    workspace::Workspace,
};

/// The guest programs that count.
pub(crate) const PROGRAMS: [&str; 2] = [counts::PROGRAM, sleeps::PROGRAM];

/// Counts everything, and records the versions for which the counts are exact.
pub(crate) fn count(
    toolchain: &GuestToolchain,
    workspace: &Workspace,
    images: &Images,
    stop: &StopToken,
) -> Measured<CountsDocument> {
    let versions = versions::of_counts(toolchain, workspace, stop)?;
    let progress = Progress::of("counting", RUNTIMES.len() + 1 + sleeps::TIMERS.len());
    let mut figures = CountsDocument::new(machine::look(), versions);
    let elf = images.get(counts::PROGRAM)?;
    for runtime in RUNTIMES {
        progress.next(runtime.name);
        match run_guest(runtime.name, elf, counts::config(runtime.name, None), stop)? {
            Ok(report) => figures.counts.extend(counts::read(&report.stats)?),
            Err(failure) => return Ok(Err(failure)),
        }
    }

    let elf = images.get(sleeps::PROGRAM)?;
    progress.next("sleeps");
    let slack = match run_guest("sleeps", elf, sleeps::counted(None), stop)? {
        Ok(report) => {
            let sleeps = sleeps::read_counted(&report.stats)?;
            figures.counts.extend(sleeps.counts);
            sleeps.exits
        }
        Err(failure) => return Ok(Err(failure)),
    };
    let kvm = kvm::probe();
    if kvm.is_err() {
        let sentence = "the sleeps that our VMM steps through are left out: there is no KVM that \
                        it can use, and `cargo vm doctor` says why";
        figures.left_out.push(sentence.into());
    }
    for &timer in sleeps::TIMERS {
        progress.next(timer);
        match &kvm {
            Err(_) => continue,
            Ok(kvm) if timer == "tsc-deadline" && !kvm.tsc_deadline => {
                let sentence = format!("the sleeps with {timer} are left out: this KVM has none");
                figures.left_out.push(sentence);
                continue;
            }
            Ok(_) => {}
        }
        match run_guest(timer, elf, sleeps::stepped(timer), stop)? {
            Ok(report) => {
                let mut sleeps = sleeps::read_stepped(timer, &report)?;
                // Counted above, by the guest itself.
                sleeps.counts.retain(|_| timer != sleeps::COUNTED_TIMER);
                figures.counts.extend(sleeps.counts);
                figures.exits.extend(sleeps.exits);
            }
            // That KVM cannot step is not the guest's fault.
            Err(Failure {
                outcome: Outcome::Died(reason),
                ..
            }) => {
                let sentence = format!("the sleeps with {timer} are left out: {reason}");
                figures.left_out.push(sentence);
            }
            Err(failure) => return Ok(Err(failure)),
        }
    }
    figures.exits.extend(slack);
    Ok(Ok(figures))
}
