//! Installs what a command needs and this machine lacks.
//!
//! Each step is announced in one line on standard error; what it prints is shown only if it fails.
//! Where nothing is missing, nothing is said. `plan` and `simulation` decide and do nothing; this module
//! does and decides nothing.

mod machine;
mod outlook;
mod plan;
mod simulation;
mod step;

pub(crate) use outlook::outlook;
pub use plan::Needs;

use crate::{
    process::ProcessError, stop::StopToken, toolchain::GuestToolchain, workspace::Workspace,
};
use machine::Machine;
use plan::{Facts, Next};
use std::{
    fmt,
    io::{self, Write},
    time::Duration,
};
use step::{Removal, Software, Step};

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
    /// Asks the package manager what an installation would remove, and changes nothing.
    fn rehearse(&mut self, software: Software) -> Result<Rehearsed, ProcessError>;
    /// Carries a step out.
    fn carry_out(&mut self, step: &Step) -> Result<Done, ProcessError>;
    /// Lets [`LOCK_PAUSE`] pass.
    fn pause(&mut self) -> Result<(), ProcessError>;
}

/// How a step that ran ended.
#[derive(Clone, Debug)]
struct Done {
    success: bool,
    status: String,
    output: String,
}

/// What the package manager says about an installation.
#[derive(Clone, Debug)]
enum Rehearsed {
    /// It would remove these.
    Removes(Vec<Removal>),
    /// It cannot be done.
    Fails(Done),
}

/// Between two tries of a step whose lock another program holds, and how many pauses there are at most.
const LOCK_PAUSE: Duration = Duration::from_secs(2);
const LOCK_PAUSES: u32 = 150;

type Announce<'a> = &'a mut dyn FnMut(fmt::Arguments<'_>);

fn set_up_host(
    host: &mut impl Host,
    needs: Needs,
    policy: Policy,
    announce: Announce<'_>,
) -> Result<GuestToolchain, SetupError> {
    let mut tried = Vec::new();
    loop {
        // Looked at anew after each step: what a step changed decides, not what it said.
        let facts = host.facts(needs);
        let step = match plan::next(&facts, needs, &tried) {
            Next::Ready(toolchain) => return Ok(toolchain),
            _ if policy == Policy::Refuse => {
                let missing = plan::missing(&facts, needs);
                return Err(SetupError::Lacking(outlook::refusal(host, missing)));
            }
            Next::Lacking(sentence) => return Err(SetupError::Lacking(sentence)),
            Next::Do(step) => step,
        };
        tried.push(step.clone());
        let step = match rehearsed(host, step) {
            Ok(step) => step,
            Err(Hindrance::Fails(command, done)) => {
                announce_failure(announce, &command, &done);
                continue;
            }
            Err(Hindrance::Refused(sentence)) => return Err(SetupError::Lacking(sentence)),
            Err(Hindrance::NotAsked(ProcessError::Stopped)) => return Err(SetupError::Stopped),
            Err(Hindrance::NotAsked(error)) => {
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
                        "`{step}` still found the package manager at work after {} s ({lock}): wait until \
                         the other installation has ended, and call again",
                        (LOCK_PAUSE * LOCK_PAUSES).as_secs()
                    )));
                }
            }
            Err(ProcessError::Stopped) => return Err(SetupError::Stopped),
            Err(error) => announce(format_args!("{error}")),
        }
    }
}

/// Why a step is not carried out.
enum Hindrance {
    /// The package manager says that it cannot.
    Fails(String, Done),
    /// It would remove what must stay.
    Refused(String),
    /// The package manager was not asked.
    NotAsked(ProcessError),
}

/// The step as it may be carried out.
fn rehearsed(host: &mut impl Host, step: Step) -> Result<Step, Hindrance> {
    let Step::Install(_, software) = step else {
        return Ok(step);
    };
    match host.rehearse(software).map_err(Hindrance::NotAsked)? {
        Rehearsed::Removes(going) => simulation::judge(step, going).map_err(Hindrance::Refused),
        Rehearsed::Fails(done) => Err(Hindrance::Fails(software.rehearsal().join(" "), done)),
    }
}

/// Carries a step out, again and again while another program holds a lock that it needs.
fn carried_out(
    host: &mut impl Host,
    step: &Step,
    announce: Announce<'_>,
) -> Result<Done, ProcessError> {
    for pauses in 0..LOCK_PAUSES {
        let done = host.carry_out(step)?;
        let Some(lock) = done.lock() else {
            return Ok(done);
        };
        if pauses == 0 {
            announce(format_args!(
                "waiting for the package manager, at most {} s: {lock}",
                (LOCK_PAUSE * LOCK_PAUSES).as_secs()
            ));
        }
        host.pause()?;
    }
    host.carry_out(step)
}

impl Done {
    /// What apt says, if another program holds a lock.
    fn lock(&self) -> Option<&str> {
        let mut lines = self.output.lines().filter(|_| !self.success);
        let line = lines.find(|line| line.contains("Could not get lock"))?;
        Some(line.trim_start_matches("E: "))
    }
}

fn announce_failure(announce: Announce<'_>, command: &str, done: &Done) {
    announce(format_args!("`{command}` failed ({}):", done.status));
    for line in done.output.lines() {
        announce(format_args!("  {line}"));
    }
}

#[cfg(test)]
mod tests;
