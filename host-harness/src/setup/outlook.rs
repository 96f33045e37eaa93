//! What set-up would do, said and not done.

use super::{
    Hindrance, Host, Machine, Needs,
    plan::{self, Next},
    rehearsed,
    step::{Removal, Step},
};
use crate::{stop::StopToken, workspace::Workspace};

/// What set-up would do here, a sentence for each thing that is missing.
pub(crate) fn outlook(workspace: &Workspace, needs: Needs, stop: &StopToken) -> Vec<String> {
    of_host(&mut Machine::new(workspace, stop), needs)
}

pub(super) fn of_host(host: &mut impl Host, needs: Needs) -> Vec<String> {
    let facts = host.facts(needs);
    let missing = plan::missing(&facts, needs).into_iter();
    let sentence = |next| match next {
        Next::Ready(_) => None,
        Next::Lacking(sentence) => Some(format!("could do nothing: {sentence}")),
        Next::Do(step) => Some(format!("for {}: {}", step.what(), of_step(host, step))),
    };
    missing.filter_map(sentence).collect()
}

fn of_step(host: &mut impl Host, step: Step) -> String {
    if step == Step::AddTarget {
        return format!("would run `{step}`");
    }
    match rehearsed(host, step.clone()) {
        Ok(step) => match &step {
            Step::Replace(_, _, going) => {
                format!("would remove {} and run `{step}`", Removal::list(going))
            }
            _ => format!("would run `{step}` and remove nothing"),
        },
        Err(Hindrance::Refused(sentence)) => format!("would refuse: {sentence}"),
        // apt may know no such package before it has been told to look.
        Err(Hindrance::Fails(..) | Hindrance::NotAsked(_)) => format!(
            "would run `apt-get update` and then, unless it removes what is not QEMU's own, `{step}`"
        ),
    }
}

/// Says all that is missing and must not be installed.
pub(super) fn refusal(host: &mut impl Host, missing: Vec<Next>) -> String {
    let (mut forbidden, mut sentences) = (Vec::new(), Vec::new());
    for next in missing {
        match next {
            Next::Do(step) => match rehearsed(host, step.clone()) {
                Err(Hindrance::Refused(sentence)) => sentences.push(sentence),
                rehearsed => {
                    let step = rehearsed.unwrap_or(step);
                    forbidden.push(format!("{} (`{step}`)", step.what()));
                }
            },
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
