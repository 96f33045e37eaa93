//! The sweep over the idle path: an interrupt at each instruction of it, none of them lost, and each
//! mutant caught. See the guest program `sweep`.

mod path;

use std::{fs, path::PathBuf};

use dormir_harness::vmm::{Accelerator, Machine, Vmm};
use libtest_mimic::{Failed, Trial};

use crate::guest::{boot, config, images};
use path::{Image, Path};

/// The way from a poll to `hlt` has some 250 instructions; the rest of the steps find it asleep.
const STEPS: u32 = 800;

/// For deadlines: the alarm, too, comes on the way, so the deadline may lie farther behind it.
const DEADLINE_STEPS: u32 = 1500;

/// A step took longer than this many instructions: nothing but the backup timer, a million later,
/// ended the sleep. A wake that is not lost takes some hundred.
const LOST: u64 = 100_000;

/// The tests of the real thing, then those of the mutants.
pub(crate) fn trials() -> Vec<Trial> {
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
            let lost = sweep(arguments, steps)?
                .iter()
                .filter(|step| step.is_lost())
                .count();
            if lost == 0 {
                return Err("no step lost its wake: the sweep does not see this mistake".into());
            }
            Ok(())
        })
    }));
    trials
}

/// One step of the guest's.
struct Step {
    /// The address that was interrupted.
    address: u64,
    /// Instructions from the interrupt (or the deadline) to the poll.
    late: u64,
}

impl Step {
    fn is_lost(&self) -> bool {
        self.late > LOST
    }
}

/// Runs the guest: step K is element K - 1.
fn sweep(arguments: &str, steps: u32) -> Result<Vec<Step>, Failed> {
    let vmm = Vmm::Qemu(Accelerator::Tcg, Machine::Q35);
    let mut config = config(vmm, format!("{arguments} steps={steps}"));
    config.count_instructions = true;
    let run = boot("sweep", &config)?.succeeded()?;
    let parsed: Option<Vec<Step>> = run.console.lines().enumerate().map(parse).collect();
    let parsed = parsed.ok_or_else(|| format!("not the sweep's output:\n{}", run.console))?;
    run.check(parsed.len() == steps as usize, "some steps are missing")?;
    Ok(parsed)
}

/// `STEP 0xADDRESS LATE`, steps counted from 1.
fn parse((index, line): (usize, &str)) -> Option<Step> {
    let mut words = line.split(' ');
    let step: usize = words.next()?.parse().ok()?;
    let address = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    let late = words.next()?.parse().ok()?;
    (step == index + 1 && words.next().is_none()).then_some(Step { address, late })
}

fn none_lost(steps: &[Step], name: &str) -> Result<(), Failed> {
    for (index, step) in steps.iter().enumerate() {
        if step.is_lost() {
            let (k, address) = (index + 1, step.address);
            return Err(format!("{name}: the wake of step {k}, at {address:#x}, was lost").into());
        }
    }
    Ok(())
}

/// By NMI, which comes at every boundary between instructions: the addresses that were interrupted are
/// an unbroken way through the program, from the poll to the `hlt`. By timer interrupt: each comes
/// just where the way says that interrupts are next unmasked.
fn every_instruction() -> Result<(), Failed> {
    let nmi = sweep("via=nmi", STEPS)?;
    let interrupt = sweep("via=interrupt", STEPS)?;
    none_lost(&nmi, "NMI")?;
    none_lost(&interrupt, "interrupt")?;

    let image = Image::read(images()?.get("sweep")?)?;
    let path = Path::new(&image, nmi.iter().map(|step| step.address).collect())?;
    path.check_unbroken()?;
    path.check_ends_asleep(image.symbol("dormir_halt_instruction")?)?;
    let delivered: Vec<u64> = interrupt.iter().map(|step| step.address).collect();
    path.check_delivery(&delivered)?;

    let listing = listing_file()?;
    fs::write(&listing, path.listing(&delivered))?;
    println!(
        "the idle path, as it was interrupted: {}",
        listing.display()
    );
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

fn listing_file() -> Result<PathBuf, Failed> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(&folder)?;
    Ok(folder.join("idle-path.txt"))
}
