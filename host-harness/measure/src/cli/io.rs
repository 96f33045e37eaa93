//! `--io`: what I/O costs, beside a Linux guest on the same QEMU.

use crate::{
    document::io::IoDocument,
    files::Destination,
    measuring::{
        io::{
            linux::{self, LinuxError},
            plan,
            run::{Measurement, PROGRAMS},
        },
        machine, versions,
    },
    report,
};
use dormir_harness::{
    cli::command::{Ended, ended, note},
    guest,
    setup::{self, Needs, Policy},
    vmm::{StopToken, Vmm, kvm},
    workspace::Workspace,
};
use std::{
    io::{self, Write},
    path::Path,
    time::Duration,
};

/// How many rounds there are, and how many seconds each number of connections fetches pages.
pub(super) const ROUNDS: u32 = 5;
pub(super) const SECONDS: u32 = 1;

/// What is to be measured.
pub(super) struct Options<'a> {
    /// The VMMs that were named; none means the usual ones.
    pub(super) vmms: &'a [Vmm],
    pub(super) rounds: u32,
    pub(super) seconds: u32,
    /// Whether nothing is measured without Linux.
    pub(super) wants_linux: bool,
    pub(super) json: Option<&'a Path>,
    pub(super) policy: Policy,
}

/// Measures, and prints tables.
pub(super) fn run(options: &Options<'_>, stop: &StopToken) -> Ended {
    // Before anything is installed, built or run for it.
    let json = options.json.map(|name| Destination::check("--json", name));
    let json = json.transpose()?;
    let workspace = Workspace::locate()?;
    let toolchain = setup::set_up(&workspace, needs(options), options.policy, stop)?;
    let (vmms, mut left_out) = plan::usable(options.vmms)?;
    let (rated, others) = plan::rated(&vmms, options.vmms);
    left_out.extend(others);
    let has_qemu = vmms.iter().any(|vmm| matches!(vmm, Vmm::Qemu(..)));
    let made = match has_qemu {
        true => linux::make(&workspace, stop),
        false => Err(LinuxError::NoQemu),
    };
    let linux = match made {
        Ok(linux) => Some(linux),
        Err(error) if options.wants_linux || stop.is_stopped() => return Err(error.into()),
        Err(error) => {
            left_out.push(format!("Linux is left out: {error}"));
            None
        }
    };
    let images = guest::build(&toolchain, &workspace, &PROGRAMS, stop)?;
    let mut versions = versions::of_io(&toolchain, &workspace, stop)?;
    if let Some(linux) = &linux {
        versions.insert("linux".into(), linux.version.clone());
    }
    let measurement = Measurement {
        vmms: &vmms,
        rated: &rated,
        rounds: options.rounds,
        span: Duration::from_secs(options.seconds.into()),
        images: &images,
        linux: linux.as_ref(),
    };
    let (usual, limit) = measurement.takes();
    note(format_args!(
        "this takes about {} minutes, and is given up after {}",
        usual.as_secs().div_ceil(60),
        limit.as_secs().div_ceil(60)
    ));
    let mut document = IoDocument::new(machine::look(), versions, left_out);
    let measured = measurement.run(&mut document, stop);
    let shown = io::stdout().write_all(report::io::text(&document).as_bytes());
    // Whether or not anything reads the table.
    if let Some(json) = json {
        json.write(&document.to_json()?)?;
    }
    measured?;
    ended(shown, 0)
}

/// What is installed for those who ask for it, or for everything; not where nothing may be
/// installed.
fn needs(options: &Options<'_>) -> Needs {
    let by_default = options.vmms.is_empty() && options.policy == Policy::Install;
    let is_qemu = |vmm: &Vmm| matches!(vmm, Vmm::Qemu(..));
    Needs {
        qemu: by_default || options.vmms.iter().any(is_qemu),
        passt: by_default && kvm::probe().is_ok() || options.vmms.contains(&Vmm::Kvm),
        ..Needs::default()
    }
}
