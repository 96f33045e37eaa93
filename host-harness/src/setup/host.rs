//! The operations on a machine that set-up needs, and their results.

use super::{
    plan::{Facts, Needs},
    simulation,
    step::{Removal, SetupStep, Software},
};
use crate::process::ProcessError;
use std::time::Duration;

/// The operations on a machine that set-up needs.
pub(super) trait SetupHost {
    /// Finds out what is installed.
    fn facts(&mut self, needs: Needs) -> Facts;
    /// Asks the package manager what an installation would remove. Changes nothing.
    fn simulate(&mut self, software: Software) -> Result<Simulated, ProcessError>;
    /// Carries out a step.
    fn carry_out(&mut self, step: &SetupStep) -> Result<StepResult, ProcessError>;
    /// Lets [`LOCK_PAUSE`] pass.
    fn pause(&mut self) -> Result<(), ProcessError>;
}

/// The result of a step.
#[derive(Clone, Debug)]
pub(super) struct StepResult {
    pub(super) success: bool,
    pub(super) status: String,
    pub(super) output: String,
}

/// The package manager's answer about an installation.
#[derive(Clone, Debug)]
pub(super) enum Simulated {
    /// It would remove these.
    Removes(Vec<Removal>),
    /// It cannot be done.
    Fails(StepResult),
}

/// The pause before a step is retried whose lock another program holds, and the maximum number of
/// pauses.
pub(super) const LOCK_PAUSE: Duration = Duration::from_secs(2);
pub(super) const MAX_LOCK_PAUSES: u32 = 150;

/// Why a step is not carried out.
pub(super) enum Hindrance {
    /// The package manager reports that it cannot.
    Fails(String, StepResult),
    /// It would remove packages that must stay.
    Refused(String),
    /// The package manager could not be asked.
    NotSimulated(ProcessError),
}

/// Returns the step in the form in which it may be carried out.
pub(super) fn simulated(
    host: &mut impl SetupHost,
    step: SetupStep,
) -> Result<SetupStep, Hindrance> {
    let SetupStep::Install(_, software) = step else {
        return Ok(step);
    };
    match host.simulate(software).map_err(Hindrance::NotSimulated)? {
        Simulated::Removes(going) => simulation::judge(step, going).map_err(Hindrance::Refused),
        Simulated::Fails(done) => Err(Hindrance::Fails(software.simulation().join(" "), done)),
    }
}

impl StepResult {
    /// Returns apt's message, if another program holds a lock.
    pub(super) fn lock(&self) -> Option<&str> {
        let mut lines = self.output.lines().filter(|_| !self.success);
        let line = lines.find(|line| line.contains("Could not get lock"))?;
        Some(line.trim_start_matches("E: "))
    }
}
