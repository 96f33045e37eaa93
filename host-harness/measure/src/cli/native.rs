//! `--native`: executors on the host, without a guest.

use crate::{files::Destination, measuring::native};
use dormir_harness::{cli::command::Ended, vmm::StopToken, workspace::Workspace};
use std::path::Path;

/// Runs the native bench, which prints its own table.
pub(super) fn run(json: Option<&Path>, stop: &StopToken) -> Ended {
    let json = json.map(|name| Destination::check("--json", name));
    let json = json.transpose()?;
    let document = native::measure(&Workspace::locate()?, stop)?;
    if let Some(json) = json {
        json.write(&document.to_json()?)?;
    }
    Ok(0)
}
