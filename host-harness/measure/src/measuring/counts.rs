//! The guest program `counts`: what it is run with, and what it reports.

use crate::document::counts::Count;
use dormir_harness::vmm::{Accelerator, MachineType, RunConfig, Vmm};
use std::time::Duration;

/// The guest program.
pub const PROGRAM: &str = "counts";

/// Far more than one runtime takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(300);

/// Room for 65536 futures on a heap, or 100000 timers.
const MEMORY_MIB: u32 = 256;

/// How the guest is run to count `runtime`; with at most `max` tasks or timers, if that is given.
#[must_use]
pub fn config(runtime: &str, max: Option<u32>) -> RunConfig {
    let max = max.map_or(String::new(), |max| format!(" max={max}"));
    RunConfig {
        memory_mib: MEMORY_MIB,
        timeout: LIMIT,
        arguments: format!("runtime={runtime}{max}"),
        count_instructions: true,
        ..RunConfig::new(Vmm::Qemu(Accelerator::Tcg, MachineType::Q35))
    }
}

/// The guest reported something that is not a count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the guest reported `{name} {value}`, which is not a count that this command knows: build \
     command and guest from the same sources"
)]
pub struct CountError {
    pub(crate) name: String,
    pub(crate) value: u64,
}

/// Reads what a guest reported.
///
/// # Errors
///
/// The first thing that is not a count.
pub fn read(stats: &[(String, u64)]) -> Result<Vec<Count>, CountError> {
    let mut counts: Vec<Count> = Vec::new();
    for (name, value) in stats {
        let known = match name.rsplit_once('/') {
            Some((subject, "instructions_x10")) => {
                Count::of(subject, *value as f64 / 10.0).map(|count| counts.push(count))
            }
            Some((subject, "worst")) => add_worst(&mut counts, subject, *value),
            _ => None,
        };
        known.ok_or_else(|| CountError {
            name: name.clone(),
            value: *value,
        })?;
    }
    Ok(counts)
}

/// Adds the worst operation to the count of the same subject, which was reported just before.
fn add_worst(counts: &mut [Count], subject: &str, worst: u64) -> Option<()> {
    let last = counts.last_mut()?;
    // Not if it has one already.
    let is_same = Count::of(subject, last.instructions)? == *last;
    is_same.then(|| last.worst = Some(worst))
}

#[cfg(test)]
mod tests;
