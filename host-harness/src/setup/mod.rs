//! Installs what a command needs and this machine lacks.
//!
//! Standard error first lists what will be installed and about how long that takes, then announces
//! each step in one line; the output of a step is shown only if it fails. If nothing is missing,
//! nothing is printed. `plan` and `simulation` only decide; this module only acts.

mod host;
mod local_host;
mod outlook;
mod plan;
mod simulation;
mod step;

pub(crate) use outlook::outlook;
pub use plan::Needs;

use crate::{
    process::ProcessError, stop::StopToken, toolchain::GuestToolchain, workspace::Workspace,
};
use host::{Hindrance, LOCK_PAUSE, MAX_LOCK_PAUSES, SetupHost, StepResult, simulated};
use local_host::LocalHost;
use plan::Decision;
use std::{
    fmt,
    io::{self, Write},
};
use step::SetupStep;

/// Whether missing things may be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Install them.
    Install,
    /// Refuse, and report what is missing (`--no-install`).
    Refuse,
}

/// Why this machine could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Something is missing and cannot, or must not, be installed; the sentence says what, and what
    /// to do.
    #[error("{0}")]
    Lacking(String),
    /// A step was stopped.
    #[error("the set-up was stopped before its end: run the command again to continue")]
    Stopped,
}

/// Installs what is missing so that guests can be built and the other needs are met; returns how to
/// build guests.
///
/// # Errors
///
/// Something is missing and was not, or could not be, installed.
pub fn set_up(
    workspace: &Workspace,
    needs: Needs,
    policy: Policy,
    stop: &StopToken,
) -> Result<GuestToolchain, SetupError> {
    let mut host = LocalHost::new(workspace, stop);
    set_up_host(&mut host, needs, policy, &mut announce)
}

fn announce(line: fmt::Arguments<'_>) {
    // If standard error is closed, there is no one to tell.
    let _ = writeln!(io::stderr(), "{line}");
}

type Announce<'a> = &'a mut dyn FnMut(fmt::Arguments<'_>);

fn set_up_host(
    host: &mut impl SetupHost,
    needs: Needs,
    policy: Policy,
    announce: Announce<'_>,
) -> Result<GuestToolchain, SetupError> {
    let mut tried = Vec::new();
    loop {
        // Checked again after each step: what a step has changed counts, not its exit status.
        let facts = host.facts(needs);
        let step = match plan::next(&facts, needs, &tried) {
            Decision::Ready(toolchain) => return Ok(toolchain),
            _ if policy == Policy::Refuse => {
                let missing = plan::missing(&facts, needs);
                return Err(SetupError::Lacking(outlook::refusal(host, missing)));
            }
            Decision::Lacking(sentence) => return Err(SetupError::Lacking(sentence)),
            Decision::Do(step) => step,
        };
        if tried.is_empty() {
            let missing = plan::missing(&facts, needs);
            for line in outlook::announcement(&missing) {
                announce(format_args!("{line}"));
            }
        }
        tried.push(step.clone());
        let step = match simulated(host, step) {
            Ok(step) => step,
            Err(Hindrance::Fails(command, done)) => {
                announce_failure(announce, &command, &done);
                continue;
            }
            Err(Hindrance::Refused(sentence)) => return Err(SetupError::Lacking(sentence)),
            Err(Hindrance::NotSimulated(ProcessError::Stopped)) => return Err(SetupError::Stopped),
            Err(Hindrance::NotSimulated(error)) => {
                announce(format_args!("{error}"));
                continue;
            }
        };
        announce(format_args!("{}: `{step}`", step.why()));
        match carried_out(host, &step, announce) {
            Ok(done) if done.success => {}
            Ok(done) => {
                announce_failure(announce, &step.to_string(), &done);
                if let Some(lock) = done.lock() {
                    return Err(SetupError::Lacking(format!(
                        "`{step}` still found the package manager busy after {} s ({lock}): wait \
                         until the other installation has ended, and run the command again",
                        (LOCK_PAUSE * MAX_LOCK_PAUSES).as_secs()
                    )));
                }
            }
            Err(ProcessError::Stopped) => return Err(SetupError::Stopped),
            Err(error) => announce(format_args!("{error}")),
        }
    }
}

/// Carries out a step, and retries it while another program holds a lock that it needs.
fn carried_out(
    host: &mut impl SetupHost,
    step: &SetupStep,
    announce: Announce<'_>,
) -> Result<StepResult, ProcessError> {
    for pauses in 0..MAX_LOCK_PAUSES {
        let done = host.carry_out(step)?;
        let Some(lock) = done.lock() else {
            return Ok(done);
        };
        if pauses == 0 {
            announce(format_args!(
                "waiting for the package manager, at most {} s: {lock}",
                (LOCK_PAUSE * MAX_LOCK_PAUSES).as_secs()
            ));
        }
        host.pause()?;
    }
    host.carry_out(step)
}

fn announce_failure(announce: Announce<'_>, command: &str, done: &StepResult) {
    announce(format_args!("`{command}` failed ({}):", done.status));
    for line in done.output.lines() {
        announce(format_args!("  {line}"));
    }
}

#[cfg(test)]
mod tests;
