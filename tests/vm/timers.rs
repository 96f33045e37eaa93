//! Each timer source, selected by the guest argument `timer=`.

use dormir_harness::vmm::{Outcome, Vmm};
use libtest_mimic::{Failed, Trial};

use crate::{
    guest::{boot, config, may_lack, on_every_vmm},
    guest_tests::{self, passed},
};

const SOURCES: [&str; 4] = ["pit", "xapic", "x2apic", "tsc-deadline"];

/// The tests of the program `cases` that are about the source.
const TESTS: [&str; 4] = [
    "timers::source",
    "timers::interrupt_saves_all",
    "timers::beyond_the_counter",
    "timers::a_few_ticks_away",
];

pub(crate) fn trials() -> Vec<Trial> {
    let with_each = |source: &'static str| {
        TESTS.into_iter().flat_map(move |test| {
            let name = format!("cases::{test}:{source}");
            on_every_vmm(&name, move |vmm| with(vmm, source, test))
        })
    };
    let missing = Trial::test("kvm::timer-that-is-missing-is-refused", missing_is_refused);
    let unknown = on_every_vmm("timer-with-no-such-name-is-refused", |vmm| {
        let sentence = "a timer source is one of pit, xapic, x2apic, tsc-deadline";
        no_program_begins(vmm, "sundial", sentence)
    });
    let trials = SOURCES.into_iter().flat_map(with_each);
    trials.chain([missing]).chain(unknown).collect()
}

/// Runs the test with the source if the VMM has it; otherwise checks that it is refused.
fn with(vmm: Vmm, source: &str, test: &str) -> Result<(), Failed> {
    let mut config = config(vmm, format!("timer={source}"));
    config.pit = vmm == Vmm::Kvm && source == "pit";
    let test = guest_tests::named("cases", test)?;
    let (report, console) = guest_tests::run("cases", &test, &config)?;
    if may_lack(vmm, source)? && report.guest.outcome.is_setup_failure() {
        let sentence = format!("this machine cannot use the timer `{source}`");
        return is_refused(&report.guest.outcome, &console, &sentence);
    }
    passed(report, &console)
}

/// Our VMM creates no PIT unless asked for one.
fn missing_is_refused() -> Result<(), Failed> {
    let sentence = "this machine cannot use the timer `pit`: no PIT answers";
    no_program_begins(Vmm::Kvm, "pit", sentence)
}

fn no_program_begins(vmm: Vmm, source: &str, sentence: &str) -> Result<(), Failed> {
    let run = boot("hello", &config(vmm, format!("timer={source}")))?;
    is_refused(&run.report.outcome, &run.console, sentence)
}

fn is_refused(outcome: &Outcome, console: &str, sentence: &str) -> Result<(), Failed> {
    if outcome.is_setup_failure() && console.contains(sentence) {
        return Ok(());
    }
    Err(format!("not refused with `{sentence}`\n{outcome}\n--- console ---\n{console}").into())
}
