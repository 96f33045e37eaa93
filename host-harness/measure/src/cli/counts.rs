//! `--counts`: instructions.

use super::failure;
use crate::{
    document::counts::{CASES, Case, RUNTIMES},
    files::Destination,
    measuring::counting,
    report,
};
use dormir_harness::{
    cli::command::{Ended, ended},
    guest,
    setup::{self, Needs, Policy},
    vmm::StopToken,
    workspace::Workspace,
};
use std::{
    io::{self, Write},
    path::Path,
};

/// What `--help` says of the exits.
const EXITS: &str = "The exits: what a sleep asks the machine for, with each timer source. Under \
    KVM our own VMM steps through whole sleeps of one task, from poll to poll, and looks at each \
    instruction: writes to the alarm, hlt, EOIs, and whatever else leaves the processor. Where \
    there is no KVM, these rows are left out. And what TimerQueue::set_slack saves: 10 tasks with \
    100 sleeps each of up to 10 ms, without slack and with 1 ms, counted by the guest in its \
    alarm, its idle policy and its handler.";

/// What `--help` says of the cases.
pub(super) fn cases_help() -> String {
    let case = |case: &Case| format!("\n  {:18} {}", case.name, case.about);
    let cases: String = CASES.iter().map(case).collect();
    let names: Vec<_> = RUNTIMES.iter().map(|runtime| runtime.name).collect();
    format!(
        "The runtimes: {}.\n\nThe cases, at n = 1, 64, 1024, 4096 and 65536 tasks that only return \
         Pending, of timers at n = 1, 10, 100, 1000, 4000, 10000 and 100000 (isr_to_poll: at 1), \
         and of the heap at n = 1, 64, 1000, 10000 and 100000 blocks:{cases}\n\n{}",
        names.join(", "),
        EXITS
    )
}

/// Counts, and prints tables.
pub(super) fn run(json: Option<&Path>, policy: Policy, stop: &StopToken) -> Ended {
    // Before anything is installed, built or run for it.
    let json = json.map(|name| Destination::check("--json", name));
    let json = json.transpose()?;
    let workspace = Workspace::locate()?;
    let needs = Needs {
        qemu: true,
        ..Needs::default()
    };
    let toolchain = setup::set_up(&workspace, needs, policy, stop)?;
    let images = guest::build(&toolchain, &workspace, &counting::PROGRAMS, stop)?;
    let document = match counting::count(&toolchain, &workspace, &images, stop)? {
        Ok(document) => document,
        Err(failed) => return failure::tell(&failed),
    };
    let shown = io::stdout().write_all(report::counts::text(&document).as_bytes());
    // Whether or not anything reads the table.
    if let Some(json) = json {
        json.write(&document.to_json()?)?;
    }
    ended(shown, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_case() {
        for case in CASES {
            assert!(cases_help().contains(case.name), "{}", case.name);
        }
    }
}
