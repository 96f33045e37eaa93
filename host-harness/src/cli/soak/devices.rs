//! Virtio devices: requests of which some are dropped.

use super::{Arguments, Ended, FAILURE, Run, complain, note};
use crate::{
    cli::output::ConsoleOutput,
    stop::StopToken,
    vmm::{self, Device, Outcome, RunConfig, Vmm},
};
use serde_json::json;

/// The guest program, and what it is told.
const PROGRAM: &str = "devices";

/// The size of its disk, in bytes.
const DISK: u64 = 64 << 20;

/// What it reports of each kind of request.
const KINDS: [&str; 3] = ["rng", "reads", "writes"];

pub(super) fn run(arguments: &Arguments, vmm: Vmm, stop: &StopToken) -> Ended {
    let (workspace, images) = super::built(arguments, vmm, &[PROGRAM], stop)?;
    let count = arguments.count.unwrap_or(arguments.check.default_count());
    let limit = arguments.limit();
    let disk = tempfile::NamedTempFile::new()?;
    disk.as_file().set_len(DISK)?;
    let path = disk.path().to_owned();
    let config = RunConfig {
        timeout: limit,
        // The guest would end with success, having made too few.
        arguments: format!(
            "case=drops requests={count} seconds={} seed={}",
            2 * limit.as_secs(),
            arguments.seed
        ),
        devices: vec![
            Device::Rng,
            Device::Disk {
                path,
                read_only: false,
            },
        ],
        stop: stop.clone(),
        ..RunConfig::new(vmm)
    };
    note(format_args!("{vmm}: devices, {count}"));
    let mut output = ConsoleOutput::new(false);
    let ran = vmm::run(images.get(PROGRAM)?, &config, &mut output);
    output.finish();
    let report = ran?;
    let took = report.wall.as_secs_f64();
    let record = |passed, result: String, details| Run {
        name: format!("soak-devices-{}", vmm.to_string().replace('/', "-")),
        claim: arguments.check.claim(),
        command: format!(
            "cargo vm soak devices --vmm {vmm} --count {count} --seed {}",
            arguments.seed
        ),
        took: report.wall,
        passed: Some(passed),
        result,
        details,
    };
    if !matches!(report.outcome, Outcome::Exited(0)) {
        let run = record(false, String::new(), json!({}));
        return super::broke_off(arguments.recording, &workspace, vmm, &report, run);
    }
    let stat = |kind: &str, what: &str| {
        let name = format!("{kind}_{what}");
        let mut stats = report.stats.iter();
        stats
            .find(|(key, _)| *key == name)
            .map_or(0, |(_, value)| *value)
    };
    for kind in KINDS {
        let (made, dropped) = (stat(kind, "made"), stat(kind, "dropped"));
        note(format_args!(
            "{vmm}: {kind}: {made} made, {dropped} dropped"
        ));
    }
    let [rng, reads, writes] = KINDS.map(|kind| stat(kind, "made"));
    let passed = rng >= count && reads + writes >= count;
    let dropped: u64 = KINDS.iter().map(|kind| stat(kind, "dropped")).sum();
    let result = format!(
        "{} requests under {vmm}, of which {dropped} were dropped",
        rng + reads + writes
    );
    let details = json!({ "rng": rng, "reads": reads, "writes": writes, "dropped": dropped });
    arguments
        .recording
        .write(&workspace, &record(passed, result, details))?;
    if !passed {
        complain(format_args!("{vmm}: the guest made too few requests"));
        return Ok(FAILURE);
    }
    note(format_args!("{vmm}: passed in {took:.1} s"));
    Ok(0)
}
