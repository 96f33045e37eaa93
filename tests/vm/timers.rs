//! Each timer source, selected by the guest argument `timer=`.

use dormir_harness::vmm::Vmm;
use libtest_mimic::{Failed, Trial};

use crate::guest::{Run, boot, config, may_lack, on_every_vmm};

const SOURCES: [&str; 4] = ["pit", "xapic", "x2apic", "tsc-deadline"];

/// The cases that use a timer.
const CASES: [&str; 4] = [
    "timer-source",
    "timer-interrupt-saves-all",
    "timer-beyond-the-counter",
    "timer-a-few-ticks-away",
];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = SOURCES
        .into_iter()
        .flat_map(|source| {
            CASES.into_iter().flat_map(move |case| {
                on_every_vmm(&format!("{case}:{source}"), move |vmm| {
                    with(vmm, source, case)
                })
            })
        })
        .collect();
    trials.push(Trial::test(
        "kvm::timer-that-is-missing-is-refused",
        missing_is_refused,
    ));
    trials.extend(on_every_vmm("timer-with-no-such-name-is-refused", |vmm| {
        let run = boot("cases", &config(vmm, "case=timer-source timer=sundial"))?;
        is_refused(
            &run,
            "a timer source is one of pit, xapic, x2apic, tsc-deadline",
        )
    }));
    trials
}

/// Runs the case with the source if the VMM has it; otherwise checks that it is refused.
fn with(vmm: Vmm, source: &str, case: &str) -> Result<(), Failed> {
    let mut config = config(vmm, format!("case={case} timer={source}"));
    config.pit = vmm == Vmm::Kvm && source == "pit";
    let run = boot("cases", &config)?;
    if may_lack(vmm, source)? && run.report.outcome.is_setup_failure() {
        return is_refused(
            &run,
            &format!("this machine cannot use the timer `{source}`"),
        );
    }
    run.succeeded()?;
    Ok(())
}

/// Our VMM creates no PIT unless asked for one.
fn missing_is_refused() -> Result<(), Failed> {
    let run = boot("cases", &config(Vmm::Kvm, "case=timer-source timer=pit"))?;
    is_refused(
        &run,
        "this machine cannot use the timer `pit`: no PIT answers",
    )
}

fn is_refused(run: &Run, sentence: &str) -> Result<(), Failed> {
    run.check(
        run.report.outcome.is_setup_failure() && run.console.contains(sentence),
        &format!("not refused with `{sentence}`"),
    )
}
