//! The sweeps: an interrupt comes at each instruction of a path through the executor, no wake is
//! lost, and each mutant is caught. See the guest programs `sweep`, `wake-sweep` and
//! `device-sweep`.

mod device;
mod idle;
mod pair;
mod path;
mod wake;

use std::{fs, path::PathBuf};

use dormir_harness::vmm::{Accelerator, MachineType, Vmm};
use libtest_mimic::{Failed, Trial};

use crate::guest::{Run, boot, config, image_of};
pub(crate) use path::Disassembly;
use path::{InterruptedPath, Start};

/// A wake that no poll follows within this many instructions is lost: only the backup timer, after
/// a million, ends that sleep. A wake that is not lost takes a few hundred.
const LOST: u64 = 100_000;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = idle::trials();
    trials.extend(pair::trials());
    trials.extend(wake::trials());
    trials.extend(device::trials());
    trials
}

/// One step, as the guest recorded it.
pub(crate) struct RecordedStep {
    /// The interrupted address.
    pub(crate) address: u64,
    /// Instructions from the interrupt (or the deadline) to the poll.
    pub(crate) late: u64,
}

impl RecordedStep {
    /// Parses `STEP 0xADDRESS LATE`; steps are counted from 1.
    pub(crate) fn parse(index: usize, words: &[&str]) -> Option<Self> {
        let [step, address, late] = words else {
            return None;
        };
        let step: usize = step.parse().ok()?;
        let address = u64::from_str_radix(address.strip_prefix("0x")?, 16).ok()?;
        let late = late.parse().ok()?;
        (step == index + 1).then_some(Self { address, late })
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.late > LOST
    }
}

/// Runs the guest program `image`, with time as a count of instructions.
fn run(image: &str, arguments: String) -> Result<Run, Failed> {
    let mut config = config(Vmm::Qemu(Accelerator::Tcg, MachineType::Q35), arguments);
    config.count_instructions = true;
    boot(image, &config)?.succeeded()
}

/// Runs a guest that sweeps once; step K is element K - 1.
pub(crate) fn steps_of(
    image: &str,
    arguments: &str,
    steps: u32,
) -> Result<Vec<RecordedStep>, Failed> {
    let run = run(image, format!("{arguments} steps={steps}"))?;
    let lines = run.console.lines().enumerate();
    let parsed: Option<Vec<RecordedStep>> = lines
        .map(|(index, line)| RecordedStep::parse(index, &line.split(' ').collect::<Vec<_>>()))
        .collect();
    let parsed = parsed.ok_or_else(|| format!("not the sweep's output:\n{}", run.console))?;
    run.check(parsed.len() == steps as usize, "some steps are missing")?;
    Ok(parsed)
}

fn none_lost(steps: &[RecordedStep], name: &str) -> Result<(), Failed> {
    for (index, step) in steps.iter().enumerate() {
        if step.is_lost() {
            let (k, address) = (index + 1, step.address);
            return Err(format!("{name}: the wake of step {k}, at {address:#x}, was lost").into());
        }
    }
    Ok(())
}

fn some_lost(steps: &[RecordedStep]) -> Result<(), Failed> {
    if steps.iter().any(RecordedStep::is_lost) {
        return Ok(());
    }
    Err("no step lost its wake: the sweep does not catch this mistake".into())
}

/// Checks the interrupted addresses. NMIs come at every boundary between instructions: their
/// addresses are an unbroken path through the program, from the poll to the `hlt`. Timer interrupts
/// each come exactly where interrupts are next unmasked on that path.
///
/// Writes the path, for readers, to `listing`. Returns the number of locked instructions on it.
fn check_path(
    image: &str,
    nmi: &[RecordedStep],
    interrupt: &[RecordedStep],
    listing: &str,
) -> Result<usize, Failed> {
    let image = Disassembly::read(image_of(image)?)?;
    let path = InterruptedPath::new(&image, addresses(nmi), Start::Task)?;
    path.check_unbroken()?;
    path.check_ends_asleep(image.symbol("dormir_halt_instruction")?)?;
    let delivered = addresses(interrupt);
    path.check_delivery(&delivered)?;
    write_listing(&path, &delivered, listing)?;
    Ok(path.locked_instructions())
}

fn addresses(steps: &[RecordedStep]) -> Vec<u64> {
    steps.iter().map(|step| step.address).collect()
}

fn write_listing(
    path: &InterruptedPath<'_>,
    delivered: &[u64],
    listing: &str,
) -> Result<(), Failed> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(&folder)?;
    let file = folder.join(listing);
    fs::write(&file, path.listing(delivered))?;
    println!("the interrupted path: {}", file.display());
    Ok(())
}
