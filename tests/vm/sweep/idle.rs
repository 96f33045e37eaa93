//! The sweep over the idle path, from a poll to the `hlt`.

use libtest_mimic::{Failed, Trial};

use super::{Step, check_way, none_lost, run, some_lost};

const PROGRAM: &str = "sweep";

/// The way from a poll to `hlt` has some 250 instructions; the rest of the steps find it asleep.
const STEPS: u32 = 800;

/// For deadlines: the alarm, too, comes on the way, so the deadline may lie farther behind it.
const DEADLINE_STEPS: u32 = 1500;

/// The tests of the real thing, then those of the mutants.
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

/// Runs the guest: step K is element K - 1.
fn sweep(arguments: &str, steps: u32) -> Result<Vec<Step>, Failed> {
    let run = run(PROGRAM, format!("{arguments} steps={steps}"))?;
    let lines = run.console.lines().enumerate();
    let parsed: Option<Vec<Step>> = lines
        .map(|(index, line)| Step::parse(index, &line.split(' ').collect::<Vec<_>>()))
        .collect();
    let parsed = parsed.ok_or_else(|| format!("not the sweep's output:\n{}", run.console))?;
    run.check(parsed.len() == steps as usize, "some steps are missing")?;
    Ok(parsed)
}

/// By interrupts and by NMIs, which wake.
fn every_instruction() -> Result<(), Failed> {
    let nmi = sweep("via=nmi", STEPS)?;
    let interrupt = sweep("via=interrupt", STEPS)?;
    none_lost(&nmi, "NMI")?;
    none_lost(&interrupt, "interrupt")?;
    check_way(PROGRAM, &nmi, &interrupt, "idle-path.txt")?;
    Ok(())
}

/// By the deadline of a dormir timer, which passes at each instruction of the way.
fn every_deadline() -> Result<(), Failed> {
    none_lost(&sweep("via=deadline", DEADLINE_STEPS)?, "deadline")
}

/// By a handler that moves a timer to an earlier deadline than all others and wakes nobody: the alarm is
/// set to it, however close to the `hlt` the handler comes.
fn every_handler_timer() -> Result<(), Failed> {
    none_lost(&sweep("via=handler-timer", STEPS)?, "moved timer")
}
