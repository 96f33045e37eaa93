//! The demos: their output, its order, and how they wait.

use dormir_harness::vmm::Vmm;
use libtest_mimic::{Failed, Trial};

use crate::guest::{Run, boot, config, on_every_vmm};

const BASIC_OUTPUT: &str = "going to sleep\n\
    slept once, in an async fn\n\
    slept twice, in a future written by hand\n\
    slept three times; good morning\n";

/// Three naps of 250 ms.
const BASIC_NANOS: u64 = 750_000_000;

pub(crate) fn trials() -> Vec<Trial> {
    [
        on_every_vmm("hello", hello),
        on_every_vmm("demo-basic", basic),
        on_every_vmm("demo-basic-busy", busy),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The guest of the README says hello, and again a second later; and it is the one in the README.
fn hello(vmm: Vmm) -> Result<(), Failed> {
    let run = boot("hello", &config(vmm, ""))?.succeeded()?;
    run.check(
        run.console == "hello\nhello again\n",
        "other output than expected",
    )?;
    let seconds = run.report.wall.as_secs();
    run.check(
        (1..20).contains(&seconds),
        &format!("it took {seconds} s to sleep for one"),
    )?;
    let source = include_str!("../../guest-image/programs/src/bin/hello.rs");
    let program = source.split_once('\n').map_or("", |(_, program)| program);
    let readme = include_str!("../../README.md");
    run.check(readme.contains(program), "the README shows another program")
}

fn run(vmm: Vmm, demo: &str) -> Result<Run, Failed> {
    let run = boot("demo", &config(vmm, format!("demo={demo}")))?.succeeded()?;
    run.check(run.console == BASIC_OUTPUT, "other output than expected")?;
    run.check(
        // Ten times as long would be a clock of the wrong scale.
        (BASIC_NANOS..10 * BASIC_NANOS).contains(&run.stat("elapsed_ns")?),
        "the naps were too short or far too long",
    )?;
    Ok(run)
}

/// Halted for most of the time; one poll at first and one for each nap.
fn basic(vmm: Vmm) -> Result<(), Failed> {
    let run = run(vmm, "basic")?;
    run.check(
        (2..=4).contains(&run.stat("polls")?),
        "polled more often than at first and after each nap",
    )?;
    run.check(
        run.stat("timer_interrupts")? >= 2,
        "three naps without their interrupts",
    )?;
    let share = run.stat("halted_ns")? * 100 / run.stat("elapsed_ns")?;
    run.check(
        share >= 50,
        &format!("halted for {share} % of the time only"),
    )?;
    if let Some(counters) = run.report.counters {
        let halts = counters.halt_exits.ok_or("this KVM does not count halts")?;
        run.check(halts >= 2, &format!("KVM saw {halts} halts for three naps"))?;
    }
    Ok(())
}

/// Never halted, by the guest's word and by KVM's count; polled without end.
fn busy(vmm: Vmm) -> Result<(), Failed> {
    let run = run(vmm, "basic-busy")?;
    run.check(run.stat("halted_ns")? == 0, "the busy variant halted")?;
    run.check(run.stat("polls")? > 100, "the busy variant hardly polled")?;
    if let Some(counters) = run.report.counters {
        let halts = counters.halt_exits.ok_or("this KVM does not count halts")?;
        run.check(halts == 0, &format!("KVM saw {halts} halts"))?;
    }
    Ok(())
}
