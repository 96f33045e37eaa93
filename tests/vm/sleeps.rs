//! The cost of a sleep, counted by the guest program `sleeps` itself, and by our VMM, which steps
//! through it.

use dormir_harness::vmm::Vmm;
use dormir_measure::{
    document::counts::{Count, Exits},
    measuring::sleeps::{
        COUNTED_TIMER, PROGRAM, Sleeps, TIMERS, counted, read_counted, read_stepped, stepped,
    },
};
use libtest_mimic::{Failed, Trial};

use crate::guest::{LIMIT, boot, may_lack};

/// The bound of `isr_to_poll` in an executor of 64, with the timer that is counted.
const ISR_TO_POLL: u64 = 150;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test(
            "qemu-tcg/q35::counts-of-sleeps-are-complete-and-repeat",
            complete_and_repeat,
        ),
        Trial::test(
            "qemu-tcg/q35::counts-of-sleeps-within-bounds",
            within_bounds,
        ),
        Trial::test("qemu-tcg/q35::counts-show-what-slack-saves", slack_saves),
        Trial::test("kvm::counts-by-steps-are-those-by-clock", steps_are_counts),
    ];
    trials.extend(TIMERS.iter().map(|timer| {
        Trial::test(format!("kvm::counts-of-exits:{timer}"), move || {
            exits(timer)
        })
    }));
    trials
}

fn count(max: Option<u32>) -> Result<Sleeps, Failed> {
    let mut config = counted(max);
    config.timeout = LIMIT;
    let run = boot(PROGRAM, &config)?.succeeded()?;
    Ok(read_counted(&run.report.stats)?)
}

/// There is one figure for each executor and each slack, and a second run reports the same.
fn complete_and_repeat() -> Result<(), Failed> {
    let sleeps = count(None)?;
    let executors = sleeps.counts.iter().map(executor);
    let expected = ["shared", "single"]
        .into_iter()
        .flat_map(|cpus| [64, 4096, 65_536].map(|capacity| (Some(capacity), Some(cpus))));
    if !executors.eq(expected) || sleeps.counts.iter().any(|count| count.worst.is_none()) {
        return Err(format!("not each executor: {:?}", sleeps.counts).into());
    }
    let slacks = sleeps.exits.iter().map(|row| (row.slack_ns, row.sleeps));
    if !slacks.eq([(0, 1000), (1_000_000, 1000)]) {
        return Err(format!("not each slack: {:?}", sleeps.exits).into());
    }
    let again = count(None)?;
    if sleeps != again {
        return Err(format!("{sleeps:?}, and then {again:?}").into());
    }
    let none = count(Some(0))?;
    if !none.counts.is_empty() || !none.exits.is_empty() {
        return Err(format!("more timers than wanted: {none:?}").into());
    }
    Ok(())
}

fn executor(count: &Count) -> (Option<u64>, Option<&str>) {
    (count.capacity, count.cpus.as_deref())
}

/// Every sleep takes the same path, which is short.
fn within_bounds() -> Result<(), Failed> {
    for count in count(Some(1))?.counts {
        let is_steady = count.worst.map(|worst| worst as f64) == Some(count.instructions);
        if !is_steady {
            return Err(format!("the worst is not the mean: {count:?}").into());
        }
        if count.capacity == Some(64) && count.instructions > ISR_TO_POLL as f64 {
            return Err(format!("more than {ISR_TO_POLL} instructions: {count:?}").into());
        }
    }
    Ok(())
}

/// Without slack a sleep takes an alarm and an interrupt, except for the few that end together.
/// With a slack of a millisecond, in which two deadlines fall, it takes less than half of each.
fn slack_saves() -> Result<(), Failed> {
    let sleeps = count(None)?;
    let [without, with] = &sleeps.exits[..] else {
        return Err(format!("not two rows: {:?}", sleeps.exits).into());
    };
    let figures = |row: &Exits| [row.alarm_writes, row.halts, row.eois];
    let about_one = 0.95..=1.0;
    if !figures(without).iter().all(|each| about_one.contains(each)) {
        return Err(format!("not one for each sleep: {without:?}").into());
    }
    if !figures(with).iter().all(|each| *each < 0.5) {
        return Err(format!("the slack saves too little: {with:?}").into());
    }
    Ok(())
}

/// Returns the figures with a timer, stepped through; `None` if this KVM has no such timer.
fn step(timer: &str) -> Result<Option<Sleeps>, Failed> {
    let run = boot(PROGRAM, &stepped(timer))?;
    if may_lack(Vmm::Kvm, timer)? && run.report.outcome.is_setup_failure() {
        return Ok(None);
    }
    let run = run.succeeded()?;
    Ok(Some(read_stepped(timer, &run.report)?))
}

/// A sleep takes one alarm, one halt and one EOI, and nothing else leaves the processor. The PIT
/// takes its count as two bytes.
fn exits(timer: &str) -> Result<(), Failed> {
    let Some(sleeps) = step(timer)? else {
        return Ok(());
    };
    let [row] = &sleeps.exits[..] else {
        return Err(format!("not one row: {:?}", sleeps.exits).into());
    };
    let expected = Exits {
        runtime: "dormir".into(),
        timer: timer.into(),
        tasks: 1,
        slack_ns: 0,
        sleeps: 18,
        alarm_writes: if timer == "pit" { 2.0 } else { 1.0 },
        halts: 1.0,
        eois: 1.0,
        others: Some(0.0),
    };
    if *row != expected {
        return Err(format!("{row:?}, and not {expected:?}").into());
    }
    Ok(())
}

/// Two independent ways to count the same instructions agree.
fn steps_are_counts() -> Result<(), Failed> {
    let counted = count(Some(1))?.counts;
    let stepped = step(COUNTED_TIMER)?.ok_or("every machine has that timer")?;
    if counted != stepped.counts {
        return Err(format!("{counted:?}, but by steps {:?}", stepped.counts).into());
    }
    Ok(())
}
