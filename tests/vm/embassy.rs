//! Embassy's crates on dormir's executor. See the guest program `embassy`.

use dormir_harness::vmm::Vmm;
use libtest_mimic::{Failed, Trial};

use crate::guest::{boot, config, on_every_vmm};

pub(crate) fn trials() -> Vec<Trial> {
    on_every_vmm("embassy", runs_unchanged)
}

/// The guest asserts that nothing completes early, and that wakers with an entry are not even woken
/// early. Wakers without one are, and that is counted.
fn runs_unchanged(vmm: Vmm) -> Result<(), Failed> {
    let run = boot("embassy", &config(vmm, ""))?.succeeded()?;
    let early = run.stat("early_wakes")?;
    run.check(early > 0, "no early wake was counted")?;
    let parts = run.console.matches(": done\n").count();
    run.check(parts == 6, "parts were left out")
}
