//! The demos in Hyperlight sandboxes, which are functions of the Hyperlight guest.

use super::{Demo, LIMIT};
use crate::{
    cli::{Ended, FAILURE, complain, ended, output::ConsoleOutput},
    hyperlight::{self, SandboxMode, SandboxRunner, ShowLimits},
    setup::{self, Needs, Policy},
    stop::StopToken,
    vmm::{Outcome, RunConfig, Vmm},
    workspace::Workspace,
};
use std::{
    io::{self, Write},
    time::Instant,
};

/// The demos that the Hyperlight guest has, and what they do there. The others are about a
/// program's own interrupts, or about a guest that never waits.
const DEMOS: &[(&str, &str)] = &[
    ("basic", "sleeps and prints, one after another"),
    (
        "advanced",
        "many futures sleep at once, combined by the crate futures-util",
    ),
    ("sleepers", "4,000 tasks asleep at once, on one timer"),
    ("tasks", "spawned, joined, aborted, taking turns"),
    (
        "roles",
        "future, task, waker and executor: hello, and two seconds later hello again",
    ),
    (
        "fetch",
        "100 pages of a local server by host calls, ten at a time, with a time limit and retries; \
         and by a plain host function",
    ),
];

/// A demo that the Hyperlight guest does not have.
#[derive(Debug, thiserror::Error)]
#[error(
    "the demo `{name}` is not for Hyperlight: omit --vmm, or choose among {}",
    DEMOS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
)]
struct NotForHyperlightError {
    name: &'static str,
}

/// Runs `demos`. Those without a counterpart are skipped, unless they were named.
pub(super) fn run(
    mode: SandboxMode,
    demos: &[&'static Demo],
    are_named: bool,
    policy: Policy,
    stop: &StopToken,
) -> Ended {
    let mut chosen = Vec::new();
    for Demo { name, .. } in demos {
        match DEMOS.iter().find(|(demo, _)| demo == name) {
            Some(demo) => chosen.push(demo),
            None if are_named => return Err(NotForHyperlightError { name }.into()),
            None => {}
        }
    }
    // Before anything is installed or built: set-up cannot fix this.
    hyperlight::probe()?;
    let workspace = Workspace::locate()?;
    let toolchain = setup::set_up(&workspace, Needs::default(), policy, stop)?;
    let guest = hyperlight::build_guest(&toolchain, &workspace, stop)?;
    let runner = SandboxRunner::build(mode, &workspace, stop)?;
    let limits = ShowLimits {
        timeout: LIMIT,
        console_limit: RunConfig::new(Vmm::Kvm).console_limit,
        stop,
    };
    let mut status = 0;
    for (name, about) in chosen {
        let title = format!("== {name} ({mode}): {about}\n");
        if let Err(error) = io::stdout().write_all(title.as_bytes()) {
            return ended(Err(error), status);
        }
        let start = Instant::now();
        let mut output = ConsoleOutput::new(false);
        let shown = runner.show(&guest, &format!("demo:{name}"), &limits, &mut output);
        output.finish();
        match shown {
            Ok(Outcome::Exited(0)) => {}
            // After a stop, or when the output is closed, no other demo runs.
            Ok(outcome @ (Outcome::Stopped | Outcome::ConsoleClosed)) => {
                return Ok(outcome.exit_code());
            }
            Ok(outcome) => {
                complain(format_args!("{name}: {outcome}"));
                status = outcome.exit_code();
            }
            Err(error) => {
                complain(format_args!("{name}: {error}"));
                status = FAILURE;
            }
        }
        let took = start.elapsed().as_secs_f64() * 1e3;
        if let Err(error) = writeln!(
            io::stdout(),
            "({took:.1} ms, including the sandbox)
"
        ) {
            return ended(Err(error), status);
        }
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_among_the_demos() {
        for (name, _) in DEMOS {
            let is_known = super::super::all().any(|demo| demo.name == *name);
            assert!(is_known, "{name}");
        }
    }
}
