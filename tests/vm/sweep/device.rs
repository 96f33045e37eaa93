//! The device sweep: over a driver's path, from a request to the `hlt`, by a device that answers
//! wherever interrupts are unmasked.

use libtest_mimic::{Failed, Trial};

use super::{Disassembly, RecordedStep, none_lost, some_lost, steps_of};
use crate::guest::image_of;

const PROGRAM: &str = "device-sweep";

/// The path from the notification to `hlt` has some 690 instructions; in the remaining steps the
/// vCPU is asleep.
const STEPS: u32 = 2000;

/// At how many addresses, at least, the vCPU is interrupted awake: 417 when this was written. Some
/// are on the path twice; where interrupts are masked there are none.
const LEAST_PLACES: usize = 400;

/// The length of `hlt`, behind which an interrupt finds a vCPU that is asleep.
const HALT_LENGTH: u64 = 1;

/// The test of the driver, then those of the mutants.
pub(super) fn trials() -> Vec<Trial> {
    let mut trials = vec![Trial::test("qemu-tcg/q35::device-sweep", every_instruction)];
    let mutants = ["acknowledges-after-the-look", "no-look-after-listening"];
    trials.extend(mutants.map(|mutant| {
        Trial::test(
            format!("qemu-tcg/q35::device-sweep-catches-{mutant}"),
            move || some_lost(&steps_of(PROGRAM, &format!("mutant={mutant}"), STEPS)?),
        )
    }));
    trials
}

/// No answer is lost. The first comes in the driver's notification, the others at each instruction
/// where interrupts are not masked, and the last ones while the vCPU is asleep.
fn every_instruction() -> Result<(), Failed> {
    let steps = steps_of(PROGRAM, "", STEPS)?;
    none_lost(&steps, "device")?;
    let image = Disassembly::read(image_of(PROGRAM)?)?;
    let halt = image.symbol("dormir_halt_instruction")?;
    let is_asleep = |step: &&RecordedStep| step.address == halt + HALT_LENGTH;
    let asleep = steps.iter().rev().take_while(is_asleep).count();
    let awake = &steps[..steps.len() - asleep];
    let mut places: Vec<u64> = awake.iter().map(|step| step.address).collect();
    places.sort_unstable();
    places.dedup();
    println!("{} steps awake, at {} addresses", awake.len(), places.len());
    if asleep == 0 {
        return Err("no step found the vCPU asleep: the path is longer than the sweep".into());
    }
    if places.len() < LEAST_PLACES {
        return Err(format!("only {} addresses were interrupted", places.len()).into());
    }
    Ok(())
}
