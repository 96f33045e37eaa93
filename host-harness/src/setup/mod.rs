//! Installs what a command needs and this machine lacks.
//!
//! Each step is announced in one line on standard error; what it prints is shown only if it fails.
//! Where nothing is missing, nothing is said. `plan` decides and does nothing; this module does and
//! decides nothing.

mod machine;
mod plan;

pub use plan::Needs;

use crate::{
    process::ProcessError, stop::StopToken, toolchain::GuestToolchain, workspace::Workspace,
};
use machine::Machine;
use plan::{Facts, Next, Step};
use std::{
    fmt,
    io::{self, Write},
};

/// Whether missing things may be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Install them.
    Install,
    /// Refuse, and say what is missing (`--no-install`).
    Refuse,
}

/// Why a machine could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Something is missing and cannot be, or must not be, installed; the sentence says what and how.
    #[error("{0}")]
    Lacking(String),
    /// A step was stopped.
    #[error("the set-up was stopped before its end: call again to go on with it")]
    Stopped,
}

/// Makes sure that guests can be built and that what else is needed is there, and finds out how to
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
    let mut machine = Machine::new(workspace, stop);
    set_up_host(&mut machine, needs, policy, &mut announce)
}

fn announce(line: fmt::Arguments<'_>) {
    // Nobody is left to be told if standard error is gone.
    let _ = writeln!(io::stderr(), "{line}");
}

/// What a machine must be able to do to be set up.
trait Host {
    /// Looks at what is there.
    fn facts(&mut self, needs: Needs) -> Facts;
    /// Carries a step out.
    fn carry_out(&mut self, step: &Step) -> Result<Done, ProcessError>;
}

/// How a step that ran ended.
struct Done {
    success: bool,
    status: String,
    output: String,
}

fn set_up_host(
    host: &mut impl Host,
    needs: Needs,
    policy: Policy,
    announce: &mut dyn FnMut(fmt::Arguments<'_>),
) -> Result<GuestToolchain, SetupError> {
    let mut tried = Vec::new();
    loop {
        // Looked at anew after each step: what a step changed decides, not what it said.
        let facts = host.facts(needs);
        let step = match plan::next(&facts, needs, &tried) {
            Next::Ready(toolchain) => return Ok(toolchain),
            _ if policy == Policy::Refuse => {
                return Err(SetupError::Lacking(refusal(plan::missing(&facts, needs))));
            }
            Next::Lacking(sentence) => return Err(SetupError::Lacking(sentence)),
            Next::Do(step) => step,
        };
        announce(format_args!("{}: `{step}`", step.why()));
        match host.carry_out(&step) {
            Ok(done) if done.success => {}
            Ok(done) => {
                announce(format_args!("`{step}` failed ({}):", done.status));
                for line in done.output.lines() {
                    announce(format_args!("  {line}"));
                }
            }
            Err(ProcessError::Stopped) => return Err(SetupError::Stopped),
            Err(error) => announce(format_args!("{error}")),
        }
        tried.push(step);
    }
}

/// Says all that is missing and must not be installed.
fn refusal(missing: Vec<Next>) -> String {
    let (mut forbidden, mut sentences) = (Vec::new(), Vec::new());
    for next in missing {
        match next {
            Next::Do(step) => forbidden.push(format!("{} (`{step}`)", step.what())),
            Next::Lacking(sentence) => sentences.push(sentence),
            Next::Ready(_) => {}
        }
    }
    if !forbidden.is_empty() {
        sentences.push(format!(
            "--no-install forbids installing what is missing, {}: run that yourself, or leave \
             --no-install out",
            forbidden.join(" and ")
        ));
    }
    sentences.join("; ")
}

#[cfg(test)]
mod tests;
