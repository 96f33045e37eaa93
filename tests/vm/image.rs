//! A guest's image in memory: its sections, its constructors, its stack, its RAM.

use dormir_harness::vmm::{MAX_ARGUMENTS_LENGTH, Outcome, Vmm};
use libtest_mimic::{Failed, Trial};

use crate::guest::{Run, boot, config, on_every_vmm};

pub(crate) fn trials() -> Vec<Trial> {
    [
        on_every_vmm("image-sections-are-kept", |vmm| passes(vmm, "sections")),
        on_every_vmm("image-constructors-run", constructors),
        on_every_vmm("image-stack-is-as-large-as-asked-for", |vmm| {
            passes(vmm, "stack")
        }),
        on_every_vmm("image-beyond-1-gib", beyond_1_gib),
        on_every_vmm("image-memory", |vmm| memory(vmm, 64)),
        on_every_vmm("image-memory-above-4-gib", |vmm| memory(vmm, 5000)),
        on_every_vmm("image-without-heap", without_heap),
        on_every_vmm("image-argument-bytes", arguments),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn run(vmm: Vmm, case: &str, memory_mib: u32) -> Result<Run, Failed> {
    let mut config = config(vmm, format!("case={case}"));
    config.memory_mib = memory_mib;
    boot("image", &config)?.succeeded()
}

fn passes(vmm: Vmm, case: &str) -> Result<(), Failed> {
    run(vmm, case, 64).map(drop)
}

fn constructors(vmm: Vmm) -> Result<(), Failed> {
    let run = run(vmm, "constructors", 64)?;
    run.check(
        run.console == "constructor first\nconstructor usual\n",
        "the constructors did not print, or not once each",
    )
}

fn beyond_1_gib(vmm: Vmm) -> Result<(), Failed> {
    let mut config = config(vmm, "");
    config.memory_mib = 1200;
    boot("big-image", &config)?.succeeded()?;
    Ok(())
}

/// All memory is found and can be allocated, except for some MiB: those of the VMM, the image and
/// the page tables.
fn memory(vmm: Vmm, memory_mib: u32) -> Result<(), Failed> {
    const SMALL: u64 = 16;
    let run = run(vmm, "memory", memory_mib)?;
    let all = u64::from(memory_mib) - SMALL..=u64::from(memory_mib);
    for stat in ["ram_mib", "had_mib"] {
        let found = run.stat(stat)?;
        run.check(all.contains(&found), &format!("{stat} is {found}"))?;
    }
    let is_large = memory_mib > 4096;
    let (pieces, end) = (run.stat("pieces")?, run.stat("end_mib")?);
    run.check(
        (pieces > 1) == is_large && (end > 4096) == is_large,
        &format!("{pieces} pieces, up to {end} MiB"),
    )
}

fn without_heap(vmm: Vmm) -> Result<(), Failed> {
    let run = boot("bare", &config(vmm, ""))?.succeeded()?;
    let is_known = run.console.ends_with(" MiB of 1\n");
    run.check(is_known, "it found no memory, or more than one piece")
}

/// The longest arguments that the harness accepts reach the program.
fn arguments(vmm: Vmm) -> Result<(), Failed> {
    let case = "case=end-exit-7 ";
    let long = "x".repeat(MAX_ARGUMENTS_LENGTH - case.len());
    let run = boot("endings", &config(vmm, format!("{case}{long}")))?;
    let is_read = run.report.outcome == Outcome::Exited(7);
    run.check(is_read, "the program did not read its argument")
}
