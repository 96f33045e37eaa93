//! The idle sweep with two interrupts: back to back at each instruction of the idle path, and the
//! second at each instruction of the path from the first back to the `hlt`.

use std::ops::RangeInclusive;

use libtest_mimic::{Failed, Trial};

use super::{
    Disassembly, InterruptedPath, RecordedStep, Start, addresses, none_lost, run, some_lost,
    write_listing,
};
use crate::guest::image_of;

const PROGRAM: &str = "sweep";

/// The idle path, as for one interrupt, and some steps in which the vCPU is asleep.
const PATH: RangeInclusive<u32> = 1..=440;
/// A step in which the vCPU is asleep.
const ASLEEP: RangeInclusive<u32> = 600..=600;
/// From the first handler back to the `hlt`: some 180 instructions if it has woken the task.
const WAY_BACK: RangeInclusive<u32> = 1..=300;

/// The tests of the real implementation, then those of the mutants.
pub(super) fn trials() -> Vec<Trial> {
    const MUTANTS: [(&str, &str, &str, bool); 4] = [
        ("halts-again-unchecked", "interrupt", "interrupt", false),
        ("halts-again-unchecked", "nmi", "nmi", false),
        ("sti-hlt-apart", "nmi", "interrupt", true),
        ("nmi-flag-lowered-late", "nmi", "nmi", true),
    ];
    let mut trials = vec![
        Trial::test("qemu-tcg/q35::sweep-back-to-back", back_to_back),
        Trial::test(
            "qemu-tcg/q35::sweep-second-at-each-instruction",
            second_at_each_instruction,
        ),
    ];
    trials.extend(MUTANTS.map(|(mutant, first, then, is_back_to_back)| {
        let name = format!("qemu-tcg/q35::sweep-catches-{mutant}:{first}-{then}");
        Trial::test(name, move || {
            let arguments = format!("via={first} then={then} wakes=second idle={mutant}");
            let (firsts, gaps) = match is_back_to_back {
                true => (PATH, 1..=1),
                false => (ASLEEP, WAY_BACK),
            };
            some_lost(&sweep(&arguments, firsts, gaps)?.seconds)
        })
    }));
    trials
}

/// Two interrupts in each step.
struct Swept {
    /// The addresses that the first has interrupted.
    firsts: Vec<u64>,
    seconds: Vec<RecordedStep>,
}

/// Runs the guest: one step for each of `firsts` and each of `gaps`.
fn sweep(
    arguments: &str,
    firsts: RangeInclusive<u32>,
    gaps: RangeInclusive<u32>,
) -> Result<Swept, Failed> {
    let show = |range: &RangeInclusive<u32>| format!("{}-{}", range.start(), range.end());
    let ranges = format!("first={} gap={}", show(&firsts), show(&gaps));
    let run = run(PROGRAM, format!("{arguments} {ranges}"))?;
    let mut swept = Swept {
        firsts: Vec::new(),
        seconds: Vec::new(),
    };
    let steps = firsts.flat_map(|first| gaps.clone().map(move |gap| (first, gap)));
    let mut lines = run.console.lines();
    for (first, gap) in steps {
        let words: Option<Vec<&str>> = lines.next().map(|line| line.split(' ').collect());
        let parsed = words.and_then(|words| {
            let [step, with_gap, interrupted, second, late] = words[..] else {
                return None;
            };
            let is_step = step == first.to_string() && with_gap == gap.to_string();
            let interrupted = u64::from_str_radix(interrupted.strip_prefix("0x")?, 16).ok()?;
            let second = RecordedStep::parse(0, &["1", second, late])?;
            is_step.then_some((interrupted, second))
        });
        let (interrupted, second) =
            parsed.ok_or_else(|| format!("no step {first} {gap} in:\n{}", run.console))?;
        swept.firsts.push(interrupted);
        swept.seconds.push(second);
    }
    Ok(swept)
}

/// Fails at the first step whose second interrupt was not at its place.
fn are_at(seconds: &[RecordedStep], places: &[u64], name: &str) -> Result<(), Failed> {
    for (index, (second, place)) in seconds.iter().zip(places).enumerate() {
        if second.address != *place {
            let (k, address) = (index + 1, second.address);
            return Err(format!("{name}: in step {k} at {address:#x}, not {place:#x}").into());
        }
    }
    Ok(())
}

/// At each instruction of the idle path an interrupt or NMI comes whose handler wakes nothing, and
/// a second one, whose handler wakes the task, is taken as soon as the first has returned.
fn back_to_back() -> Result<(), Failed> {
    let image = Disassembly::read(image_of(PROGRAM)?)?;
    let swept = |first, then, gap| {
        let arguments = format!("via={first} then={then} wakes=second");
        let swept = sweep(&arguments, PATH, gap..=gap)?;
        none_lost(&swept.seconds, &format!("{first}, then {then}"))?;
        Ok::<_, Failed>(swept)
    };
    // NMIs are blocked until the first has returned.
    let nmis = swept("nmi", "nmi", 1)?;
    let path = InterruptedPath::new(&image, nmis.firsts, Start::Task)?;
    path.check_unbroken()?;
    path.check_ends_asleep(image.symbol("dormir_halt_instruction")?)?;
    are_at(&nmis.seconds, &path.after_nmi()?, "NMI, then NMI")?;

    let after_nmi = swept("nmi", "interrupt", 0)?;
    let places = path.pending_after_nmi()?;
    are_at(&after_nmi.seconds, &places, "NMI, then interrupt")?;

    let interrupts = swept("interrupt", "interrupt", 0)?;
    path.check_delivery(&interrupts.firsts)?;
    are_at(&interrupts.seconds, &interrupts.firsts, "two interrupts")?;

    // The first step finds out after how many instructions the handler has returned.
    let arguments = "via=interrupt then=nmi wakes=second";
    let gaps = sweep(arguments, 1..=1, WAY_BACK)?;
    let is_return = |(second, first): (&RecordedStep, &u64)| second.address == *first;
    let mut steps = gaps.seconds.iter().zip(&gaps.firsts);
    let gap = steps.position(is_return).ok_or("no NMI came behind it")?;
    let by_nmi = swept("interrupt", "nmi", *WAY_BACK.start() + gap as u32)?;
    path.check_delivery(&by_nmi.firsts)?;
    are_at(&by_nmi.seconds, &by_nmi.firsts, "interrupt, then NMI")
}

/// The vCPU sleeps, and a first interrupt or NMI comes. At each instruction of its handler and of
/// the path back to the `hlt` a second one comes. The first wakes the task, or nothing.
fn second_at_each_instruction() -> Result<(), Failed> {
    let image = Disassembly::read(image_of(PROGRAM)?)?;
    for wakes in ["second", "both"] {
        let swept = |first: &str, then| {
            let arguments = format!("via={first} then={then} wakes={wakes}");
            let seconds = sweep(&arguments, ASLEEP, WAY_BACK)?.seconds;
            none_lost(&seconds, &arguments)?;
            Ok::<_, Failed>(seconds)
        };
        let nmi = swept("interrupt", "nmi")?;
        let path = InterruptedPath::new(&image, addresses(&nmi), Start::Handler)?;
        path.check_unbroken()?;
        path.check_ends_asleep(image.symbol("dormir_halt_instruction")?)?;
        let delivered = addresses(&swept("interrupt", "interrupt")?);
        path.check_delivery(&delivered)?;
        write_listing(&path, &delivered, &format!("way-back-path-{wakes}.txt"))?;
        swept("nmi", "nmi")?;
        swept("nmi", "interrupt")?;
    }
    Ok(())
}
