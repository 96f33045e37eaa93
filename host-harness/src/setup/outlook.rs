//! Describes what set-up will or would do, without doing it.

use super::{
    host::{Hindrance, SetupHost, simulated},
    local_host::LocalHost,
    plan::{self, Decision, Needs},
    step::{Removal, SetupStep},
};
use crate::{stop::StopToken, workspace::Workspace};
use std::time::Duration;

/// Returns what set-up would do here, one sentence for each thing that is missing.
pub(crate) fn outlook(workspace: &Workspace, needs: Needs, stop: &StopToken) -> Vec<String> {
    of_host(&mut LocalHost::new(workspace, stop), needs)
}

pub(super) fn of_host(host: &mut impl SetupHost, needs: Needs) -> Vec<String> {
    let facts = host.facts(needs);
    let missing = plan::missing(&facts, needs).into_iter();
    let sentence = |next| match next {
        Decision::Ready(_) => None,
        Decision::Lacking(sentence) => Some(format!("could do nothing: {sentence}")),
        Decision::Do(step) => Some(format!("for {}: {}", step.what(), of_step(host, step))),
    };
    missing.filter_map(sentence).collect()
}

fn of_step(host: &mut impl SetupHost, step: SetupStep) -> String {
    if step == SetupStep::AddTarget {
        return format!("would run `{step}`");
    }
    match simulated(host, step.clone()) {
        Ok(step) => match &step {
            SetupStep::Replace(_, _, going) => {
                format!("would remove {} and run `{step}`", Removal::list(going))
            }
            _ => format!("would run `{step}` and remove nothing"),
        },
        Err(Hindrance::Refused(sentence)) => format!("would refuse: {sentence}"),
        // apt may not know the package before its lists are updated.
        Err(Hindrance::Fails(..) | Hindrance::NotSimulated(_)) => format!(
            "would run `apt-get update` and then, unless that removes a package that is not \
             QEMU's, `{step}`"
        ),
    }
}

/// Returns what set-up is about to install and about how long that takes: a line in all, and a line
/// for each item. Nothing, if nothing can be installed.
pub(super) fn announcement(missing: &[Decision]) -> Vec<String> {
    let steps = missing.iter().filter_map(|decision| match decision {
        Decision::Do(step) => Some(step),
        _ => None,
    });
    let steps: Vec<&SetupStep> = steps.collect();
    let update = steps.iter().find_map(|step| match step {
        SetupStep::Install(privilege, _) => Some(SetupStep::UpdatePackages(*privilege)),
        _ => None,
    });
    let all: Duration = steps
        .iter()
        .copied()
        .chain(&update)
        .map(SetupStep::estimate)
        .sum();
    let item =
        |step: &&SetupStep| format!("  {}: `{step}`, {}", step.what(), about(step.estimate()));
    let first = format!(
        "this machine lacks the following; installing it takes {} with a usual connection",
        about(all)
    );
    match steps.is_empty() {
        true => Vec::new(),
        false => std::iter::once(first)
            .chain(steps.iter().map(item))
            .collect(),
    }
}

/// An estimate, in words.
fn about(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..=90 => format!("about {seconds} s"),
        seconds => format!("about {} min", seconds.div_ceil(60)),
    }
}

/// Returns a sentence about everything that is missing and must not be installed.
pub(super) fn refusal(host: &mut impl SetupHost, missing: Vec<Decision>) -> String {
    let (mut forbidden, mut sentences) = (Vec::new(), Vec::new());
    for next in missing {
        match next {
            Decision::Do(step) => match simulated(host, step.clone()) {
                Err(Hindrance::Refused(sentence)) => sentences.push(sentence),
                simulated => {
                    let step = simulated.unwrap_or(step);
                    forbidden.push(format!("{} (`{step}`)", step.what()));
                }
            },
            Decision::Lacking(sentence) => sentences.push(sentence),
            Decision::Ready(_) => {}
        }
    }
    if !forbidden.is_empty() {
        sentences.push(format!(
            "--no-install forbids installing what is missing, {}: run that yourself, or omit \
             --no-install",
            forbidden.join(" and ")
        ));
    }
    sentences.join("; ")
}
