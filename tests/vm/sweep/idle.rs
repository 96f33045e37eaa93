//! The idle sweep: over the idle path, from a poll to the `hlt`.

use libtest_mimic::{Failed, Trial};

use super::{check_path, none_lost, some_lost, steps_of};

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
            some_lost(&steps_of(PROGRAM, arguments, steps)?)
        })
    }));
    trials
}

/// Interrupts and NMIs whose handler wakes the task.
fn every_instruction() -> Result<(), Failed> {
    let nmi = steps_of(PROGRAM, "via=nmi", STEPS)?;
    let interrupt = steps_of(PROGRAM, "via=interrupt", STEPS)?;
    none_lost(&nmi, "NMI")?;
    none_lost(&interrupt, "interrupt")?;
    check_path(PROGRAM, &nmi, &interrupt, "idle-path.txt")?;
    Ok(())
}

/// A dormir timer whose deadline passes at each instruction of the path.
fn every_deadline() -> Result<(), Failed> {
    none_lost(
        &steps_of(PROGRAM, "via=deadline", DEADLINE_STEPS)?,
        "deadline",
    )
}

/// A handler that wakes no task but moves a timer to a deadline earlier than all others: the alarm
/// is set to it, however close to the `hlt` the handler comes.
fn every_handler_timer() -> Result<(), Failed> {
    none_lost(
        &steps_of(PROGRAM, "via=handler-timer", STEPS)?,
        "moved timer",
    )
}
