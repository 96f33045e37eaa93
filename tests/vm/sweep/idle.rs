//! The idle sweep: over the idle path, from a poll to the `hlt`.

use libtest_mimic::{Failed, Trial};

use super::{RecordedStep, check_path, none_lost, run, some_lost};

const PROGRAM: &str = "sweep";

/// The path from a poll to `hlt` has some 250 instructions; in the remaining steps the vCPU is
/// asleep.
const STEPS: u32 = 800;

/// For deadlines: the alarm is set on the path too, so the deadline may be farther away.
const DEADLINE_STEPS: u32 = 1500;

/// The tests of the real implementation, then those of the mutants.
pub(super) fn trials() -> Vec<Trial> {
    const MUTANTS: [(&str, &str, u32); 6] = [
        ("no-check", "via=interrupt idle=no-check", STEPS),
        (
            "check-before-mask",
            "via=interrupt idle=check-before-mask",
            STEPS,
        ),
        ("sti-hlt-apart", "via=interrupt idle=sti-hlt-apart", STEPS),
        ("nmi-forgotten", "via=nmi idle=nmi-forgotten", STEPS),
        (
            "nmi-flag-lowered-late",
            "via=nmi idle=nmi-flag-lowered-late",
            STEPS,
        ),
        (
            "no-look-after-arming",
            "via=deadline clock=no-look-after-arming",
            DEADLINE_STEPS,
        ),
    ];
    let mut trials = vec![
        Trial::test("qemu-tcg/q35::sweep-interrupt-and-nmi", every_instruction),
        Trial::test("qemu-tcg/q35::sweep-deadline", every_deadline),
        Trial::test("qemu-tcg/q35::sweep-handler-timer", every_handler_timer),
    ];
    trials.extend(MUTANTS.map(|(name, arguments, steps)| {
        Trial::test(format!("qemu-tcg/q35::sweep-catches-{name}"), move || {
            some_lost(&sweep(arguments, steps)?)
        })
    }));
    trials
}

/// Runs the guest; step K is element K - 1.
fn sweep(arguments: &str, steps: u32) -> Result<Vec<RecordedStep>, Failed> {
    let run = run(PROGRAM, format!("{arguments} steps={steps}"))?;
    let lines = run.console.lines().enumerate();
    let parsed: Option<Vec<RecordedStep>> = lines
        .map(|(index, line)| RecordedStep::parse(index, &line.split(' ').collect::<Vec<_>>()))
        .collect();
    let parsed = parsed.ok_or_else(|| format!("not the sweep's output:\n{}", run.console))?;
    run.check(parsed.len() == steps as usize, "some steps are missing")?;
    Ok(parsed)
}

/// Interrupts and NMIs whose handler wakes the task.
fn every_instruction() -> Result<(), Failed> {
    let nmi = sweep("via=nmi", STEPS)?;
    let interrupt = sweep("via=interrupt", STEPS)?;
    none_lost(&nmi, "NMI")?;
    none_lost(&interrupt, "interrupt")?;
    check_path(PROGRAM, &nmi, &interrupt, "idle-path.txt")?;
    Ok(())
}

/// A dormir timer whose deadline passes at each instruction of the path.
fn every_deadline() -> Result<(), Failed> {
    none_lost(&sweep("via=deadline", DEADLINE_STEPS)?, "deadline")
}

/// A handler that wakes no task but moves a timer to a deadline earlier than all others: the alarm
/// is set to it, however close to the `hlt` the handler comes.
fn every_handler_timer() -> Result<(), Failed> {
    none_lost(&sweep("via=handler-timer", STEPS)?, "moved timer")
}
