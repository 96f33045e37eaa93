//! The sweeps: an interrupt at each instruction of a way through the executor, no wake lost, and each
//! mutant caught. See the guest programs `sweep` and `wake-sweep`.

mod idle;
mod path;
mod wake;

use std::{fs, path::PathBuf};

use dormir_harness::vmm::{Accelerator, Machine, Vmm};
use libtest_mimic::{Failed, Trial};

use crate::guest::{Run, boot, config, images};
use path::{Image, Path};

/// A wake that is followed by no poll for this many instructions is lost: nothing but the backup timer,
/// a million later, ended the sleep. A wake that is not lost takes some hundred.
const LOST: u64 = 100_000;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = idle::trials();
    trials.extend(wake::trials());
    trials
}

/// One step of a guest's.
struct Step {
    /// The address that was interrupted.
    address: u64,
    /// Instructions from the interrupt (or the deadline) to the poll.
    late: u64,
}

impl Step {
    /// `STEP 0xADDRESS LATE`; steps are counted from 1.
    fn parse(index: usize, words: &[&str]) -> Option<Self> {
        let [step, address, late] = words else {
            return None;
        };
        let step: usize = step.parse().ok()?;
        let address = u64::from_str_radix(address.strip_prefix("0x")?, 16).ok()?;
        let late = late.parse().ok()?;
        (step == index + 1).then_some(Self { address, late })
    }

    fn is_lost(&self) -> bool {
        self.late > LOST
    }
}

/// Runs the guest program `image`, with time as a count of instructions.
fn run(image: &str, arguments: String) -> Result<Run, Failed> {
    let mut config = config(Vmm::Qemu(Accelerator::Tcg, Machine::Q35), arguments);
    config.count_instructions = true;
    boot(image, &config)?.succeeded()
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

fn some_lost(steps: &[Step]) -> Result<(), Failed> {
    if steps.iter().any(Step::is_lost) {
        return Ok(());
    }
    Err("no step lost its wake: the sweep does not see this mistake".into())
}

/// By NMI, which comes at every boundary between instructions: the addresses that were interrupted are
/// an unbroken way through the program, from the poll to the `hlt`. By timer interrupt: each comes
/// just where the way says that interrupts are next unmasked.
///
/// Writes the way, for people, to `listing`. Gives the number of locked instructions on it.
fn check_way(
    image: &str,
    nmi: &[Step],
    interrupt: &[Step],
    listing: &str,
) -> Result<usize, Failed> {
    let image = Image::read(images()?.get(image)?)?;
    let path = Path::new(&image, nmi.iter().map(|step| step.address).collect())?;
    path.check_unbroken()?;
    path.check_ends_asleep(image.symbol("dormir_halt_instruction")?)?;
    let delivered: Vec<u64> = interrupt.iter().map(|step| step.address).collect();
    path.check_delivery(&delivered)?;

    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(&folder)?;
    let file = folder.join(listing);
    fs::write(&file, path.listing(&delivered))?;
    println!("the way, as it was interrupted: {}", file.display());
    Ok(path.locked_instructions())
}
