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
    cli::command::{Ended, FAILURE, complain, ended, note},
    guest,
    process::ProcessError,
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
    /// Whether Linux was asked for.
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
    let images = guest::build(&toolchain, &workspace, &PROGRAMS, stop)?;
    let has_qemu = vmms.iter().any(|vmm| matches!(vmm, Vmm::Qemu(..)));
    let linux = match has_qemu.then(|| linux::make(&workspace, stop)) {
        Some(Ok(linux)) => Some(linux),
        Some(Err(error @ LinuxError::Process(ProcessError::Stopped))) => return Err(error.into()),
        Some(Err(error)) => {
            left_out.push(format!("Linux is left out: {error}"));
            None
        }
        None => {
            left_out.push("Linux is left out: our own VMM boots dormir's guests alone".into());
            None
        }
    };
    let mut versions = versions::of_io(&toolchain, &workspace, stop)?;
    if let Some(linux) = &linux {
        versions.insert("linux".into(), linux.version.clone());
    }
    let measurement = Measurement {
        vmms: &vmms,
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
    if let Err(error) = &measured {
        document
            .left_out
            .push(format!("what followed is left out: {error}"));
    }
    let shown = io::stdout().write_all(report::io::text(&document).as_bytes());
    // Whether or not anything reads the table.
    if let Some(json) = json {
        json.write(&document.to_json()?)?;
    }
    measured?;
    if options.wants_linux && linux.is_none() {
        complain(format_args!(
            "Linux was asked for and is left out; the reason is below the tables"
        ));
        return Ok(FAILURE);
    }
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
