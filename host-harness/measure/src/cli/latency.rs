//! `--latency`: how late a task is polled.

use super::{draw, failure};
use crate::{
    document::{latency::Document, sizes::PROGRAMS},
    files::Destination,
    measuring::{
        counting,
        latency::{
            collect::{Broken, Collected},
            plan::{self, Extent, PROGRAM},
        },
        machine, sizes, versions,
    },
    report,
};
use dormir_harness::{
    cli::command::{Ended, ended},
    guest,
    setup::{self, Needs, Policy},
    vmm::{StopToken, Vmm, qemu},
    workspace::Workspace,
};
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

/// What is to be measured.
pub(super) struct Options<'a> {
    /// The VMMs that were named; none means all that can be used here.
    pub(super) vmms: &'a [Vmm],
    pub(super) extent: Extent,
    pub(super) json: Option<&'a Path>,
    /// What is to be drawn.
    pub(super) drawings: draw::Options<'a>,
    pub(super) policy: Policy,
}

/// Measures, prints a table, and draws.
pub(super) fn run(options: &Options<'_>, stop: &StopToken) -> Ended {
    // Before anything is installed, built or run for it.
    let json = options.json.map(|name| Destination::check("--json", name));
    let json = json.transpose()?;
    let others: Vec<PathBuf> = options.json.into_iter().map(Path::to_owned).collect();
    options.drawings.spare(&others)?;
    let canvases = options.drawings.check()?;
    let workspace = Workspace::locate()?;
    let toolchain = setup::set_up(&workspace, needs(options), options.policy, stop)?;
    let mut programs = vec![PROGRAM];
    if canvases.has_page() {
        programs.extend(counting::PROGRAMS);
        programs.extend(PROGRAMS.iter().map(|program| program.name));
    }
    let images = guest::build(&toolchain, &workspace, &programs, stop)?;
    let elf = images.get(PROGRAM)?;
    let versions = versions::of_packages(&toolchain, &workspace, plan::PACKAGES, stop)?;
    let (vmms, mut left_out) = plan::usable(options.vmms)?;
    left_out.extend(plan::without_host_path(&vmms));
    let host = machine::look();

    // What the page has besides latencies. First, since it takes less time.
    let (mut counts, mut image_sizes) = (None, Vec::new());
    if canvases.has_page() {
        image_sizes = sizes::measure(&images)?;
        match qemu::probe() {
            Err(lack) => left_out.push(format!("the counts are left out: {lack}")),
            Ok(_) => match counting::count(&toolchain, &workspace, &images, stop)? {
                Ok(mut document) => {
                    left_out.append(&mut document.left_out);
                    counts = Some(document);
                }
                Err(failed) => return failure::tell(&failed),
            },
        }
    }

    let boots = plan::boots(&vmms, options.extent);
    let collected = Collected::measure(&boots, elf, stop);
    let broken = match collected.broken {
        Some(broken) if collected.cells.is_empty() || broken.was_stopped() => return end(broken),
        broken => broken,
    };
    left_out.extend(collected.left_out);
    let mut document = Document::new(host, versions, left_out, collected.cells);
    (document.counts, document.images) = (counts, image_sizes);
    let shown = io::stdout().write_all(report::latency::text(&document).as_bytes());
    // Whether or not anything reads the table.
    if let Some(json) = json {
        json.write(&document.to_json()?)?;
    }
    canvases.draw(&document)?;
    match broken {
        Some(broken) => end(broken),
        None => ended(shown, 0),
    }
}

/// Reports the guest that failed, or another reason.
fn end(broken: Broken) -> Ended {
    match broken {
        Broken::Guest(failed) => failure::tell(&failed),
        Broken::Error(error) => Err(error),
    }
}

/// QEMU is installed for those who ask for it, or for everything; not where nothing may be
/// installed.
fn needs(options: &Options<'_>) -> Needs {
    let is_qemu = |vmm: &Vmm| matches!(vmm, Vmm::Qemu(..));
    let has_all = options.vmms.is_empty() || options.drawings.html.is_some();
    let by_default = has_all && options.policy == Policy::Install;
    Needs {
        qemu: by_default || options.vmms.iter().any(is_qemu),
        ..Needs::default()
    }
}
