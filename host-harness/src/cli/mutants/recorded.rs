//! What is recorded of a run: it passes only if it came to its end, and its date is that of mutants
//! which were tried.

use super::{
    super::{
        note,
        record::{RecordError, Recording, Run},
    },
    found::Found,
};
use crate::workspace::Workspace;

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All that was due was tried.
    All,
    /// Its time was over, or it was stopped.
    Early,
    /// What it found may be wrong, or it could not try what was due.
    Failed,
}

/// Records a run, of which `run` has what all fates that are known amount to.
pub(super) fn write(
    recording: Recording,
    workspace: &Workspace,
    mut run: Run,
    found: &Found,
    all: usize,
    end: End,
) -> Result<(), RecordError> {
    run.passed = passed(run.passed, end);
    run.result = result(run.result, found.tried(), all, end);
    match end {
        End::All if !found.is_new() => recording.amend(workspace, &run),
        End::Early if !found.is_new() => {
            if recording.is_wanted() {
                note(format_args!("nothing was tried: the record stays as it is"));
            }
            Ok(())
        }
        _ => recording.write(workspace, &run),
    }
}

/// Whether a run passes whose fates do so, or may.
fn passed(fates: Option<bool>, end: End) -> Option<bool> {
    match end {
        End::All => fates,
        End::Early => fates.filter(|passed| !passed),
        End::Failed => Some(false),
    }
}

/// The sentence of the record.
fn result(fates: String, tried: Option<usize>, all: usize, end: End) -> String {
    let tried = match tried {
        Some(tried) if tried >= all => "; all were tried in this run".to_owned(),
        Some(tried) => format!("; {tried} of all {all} were tried in this run"),
        None => String::new(),
    };
    let end = match end {
        End::Failed => "; the tests failed without a mutant, or could not be run",
        _ => "",
    };
    format!("{fates}{tried}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_passes_only_if_it_has_tried_what_was_due() {
        for (fates, [all, early, failed]) in [
            (Some(true), [Some(true), None, Some(false)]),
            (Some(false), [Some(false); 3]),
            (None, [None, None, Some(false)]),
        ] {
            assert_eq!(passed(fates, End::All), all);
            assert_eq!(passed(fates, End::Early), early);
            assert_eq!(passed(fates, End::Failed), failed);
        }
    }

    #[test]
    fn a_record_says_how_many_were_tried() {
        let result = |tried, end| result("8 of 9 caught".into(), tried, 10, end);
        assert_eq!(result(None, End::All), "8 of 9 caught");
        let some = "8 of 9 caught; 3 of all 10 were tried in this run";
        assert_eq!(result(Some(3), End::Early), some);
        let all = "8 of 9 caught; all were tried in this run";
        assert_eq!(result(Some(10), End::All), all);
        let failed = result(Some(3), End::Failed);
        assert!(failed.starts_with(some) && failed.contains("failed without"));
    }
}
