//! `cargo vm soak`: the long checks of Hyperlight guests.

use super::{Ended, FAILURE, Installing, complain, note};
use crate::{
    hyperlight::{self, SandboxMode, SandboxRunner},
    setup::{self, Needs},
    stop::StopToken,
    workspace::Workspace,
};
use clap::{ValueEnum, builder::RangedI64ValueParser, value_parser};
use std::time::{Duration, Instant};

/// Runs a long check of Hyperlight guests in real sandboxes, and shows its progress
///
/// `cargo vm test` runs each with a smaller count. The status is 0 if the check passed in every
/// mode, and 1 if it failed in one.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The check
    check: Check,
    /// How many calls or sandboxes [default: 100000 calls, 1000 sandboxes]
    #[arg(long)]
    #[arg(value_parser = RangedI64ValueParser::<u64>::new().range(1..=1_000_000_000))]
    count: Option<u64>,
    /// Selects the calls
    #[arg(long, default_value_t = 0)]
    #[arg(value_parser = RangedI64ValueParser::<u64>::new().range(0..=u32::MAX.into()))]
    seed: u64,
    /// The mode: hyperlight or hyperlight-interrupts [default: both, one after the other]
    #[arg(long, value_name = "VMM")]
    vmm: Option<SandboxMode>,
    /// The time limit in each mode, in minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 60)]
    #[arg(value_parser = value_parser!(u16).range(1..))]
    timeout: u16,
    #[command(flatten)]
    installing: Installing,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Check {
    /// Host calls with random delays, errors, panics, results in pieces, dropped calls, restores
    /// and cancellations: each ends once, with its own result, or lost
    RandomCalls,
    /// Sandboxes that wait for host calls, driven by two threads
    DrivenSandboxes,
}

impl Check {
    fn default_count(self) -> u64 {
        match self {
            Self::RandomCalls => 100_000,
            Self::DrivenSandboxes => 1000,
        }
    }

    /// Its name in the runner.
    fn name(self) -> &'static str {
        match self {
            Self::RandomCalls => "random-calls",
            Self::DrivenSandboxes => "driven-sandboxes",
        }
    }
}

pub(super) fn run(arguments: &Arguments, stop: &StopToken) -> Ended {
    // Before anything is installed or built: set-up cannot fix this.
    hyperlight::probe()?;
    let workspace = Workspace::locate()?;
    let policy = arguments.installing.policy();
    let toolchain = setup::set_up(&workspace, Needs::default(), policy, stop)?;
    let guest = hyperlight::build_guest(&toolchain, &workspace, stop)?;
    let check = arguments.check;
    let count = arguments.count.unwrap_or(check.default_count());
    let what = format!("soak:{}:{count}:{}", check.name(), arguments.seed);
    let limit = Duration::from_secs(60 * u64::from(arguments.timeout));
    let modes = SandboxMode::ALL.into_iter();
    let mut status = 0;
    for mode in modes.filter(|mode| arguments.vmm.is_none_or(|one| one == *mode)) {
        let runner = SandboxRunner::build(mode, &workspace, stop)?;
        note(format_args!("{mode}: {}, {count}", check.name()));
        let start = Instant::now();
        let ended = runner.run_shown(&guest, &what, limit, stop)?;
        let took = start.elapsed().as_secs_f64();
        if ended.success() {
            note(format_args!("{mode}: passed in {took:.1} s"));
        } else {
            complain(format_args!("{mode}: failed after {took:.1} s ({ended})"));
            // The status of a runner that found something; others could not check.
            status = match ended.code() {
                Some(1) => 1,
                _ => FAILURE,
            };
        }
    }
    Ok(status)
}
