//! What all recorded runs have done together.

use super::{
    super::record::{self, RecordError, Run},
    session::Session,
};
use crate::{fuzz::TARGETS, workspace::Workspace};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, time::Duration};

/// The record's name.
const NAME: &str = "fuzz";

/// The time after which a target is said to have been run for long, in seconds.
const HOUR: u64 = 3600;

/// The names of the inputs of a target that broke it, and may do so yet. Old records do not say.
const OPEN: &str = "open";

/// By target.
#[derive(Debug)]
pub(super) struct Totals(Map<String, Value>);

impl Totals {
    /// Those of the last record; none, if there is no record.
    pub(super) fn read(workspace: &Workspace) -> Result<Self, RecordError> {
        let details = record::read(workspace, NAME)?.unwrap_or_default();
        Ok(Self(details.as_object().cloned().unwrap_or_default()))
    }

    /// Adds a session. One that came to its end without a finding shows that those earlier ones are
    /// mended whose inputs it `has`, since it tries them again.
    pub(super) fn add(&mut self, name: &str, session: &Session, has: impl Fn(&str) -> bool) {
        let seconds = session.time.as_secs();
        let findings = session.findings.len() as u64;
        let before = |member| self.number(name, member);
        // A finding is mended by a change, so what was run before it was run of another program.
        let since = match findings {
            0 => before("seconds_since_finding") + seconds,
            _ => 0,
        };
        let is_mended = |input: &String| findings == 0 && !session.is_cut && has(input);
        let mut open = self.open(name);
        open.retain(|input| !is_mended(input));
        for finding in &session.findings {
            let input = finding.input.file_name().unwrap_or_default();
            open.insert(input.to_string_lossy().into_owned());
        }
        let sums = json!({
            OPEN: open,
            "seconds": before("seconds") + seconds,
            "processor_seconds": before("processor_seconds") + session.processor.as_secs(),
            "runs": before("runs") + session.runs,
            "edges": session.edges,
            "findings": before("findings") + findings,
            "seconds_since_finding": since,
        });
        self.0.insert(name.to_owned(), sums);
    }

    fn open(&self, name: &str) -> BTreeSet<String> {
        let target = self.0.get(name);
        let open = target.and_then(|target| target[OPEN].as_array());
        let inputs = open.into_iter().flatten().filter_map(Value::as_str);
        inputs.map(str::to_owned).collect()
    }

    fn number(&self, name: &str, member: &str) -> u64 {
        let target = self.0.get(name);
        target
            .and_then(|target| target[member].as_u64())
            .unwrap_or_default()
    }

    /// The record of a run of these targets. Their processor time is not known of runs from before
    /// it was kept.
    pub(super) fn run(&self, command: String, ran: &[&str], took: Duration, findings: u64) -> Run {
        let all = |member: &'static str| self.0.keys().map(move |name| self.number(name, member));
        let hours = |member| all(member).sum::<u64>() as f64 / HOUR as f64;
        let long = all("seconds_since_finding").filter(|seconds| *seconds >= HOUR);
        let long = long.count();
        let is_open = |name: &&String| !self.open(name).is_empty();
        let open: Vec<&str> = self.0.keys().filter(is_open).map(|name| &**name).collect();
        let passed = match findings {
            0 if open.is_empty() => (long == TARGETS.len()).then_some(true),
            _ => Some(false),
        };
        let open = match &*open {
            [] => String::new(),
            open => format!("; not known to be mended: {}", open.join(", ")),
        };
        let found = match findings {
            0 => "no finding".to_owned(),
            1 => "one finding".to_owned(),
            many => format!("{many} findings"),
        };
        Run {
            name: NAME.to_owned(),
            claim: "No bytes of a guest, a host, a debugger, QEMU or a file break what reads them.",
            command,
            took,
            // With an hour for each.
            passed,
            result: format!(
                "{found} in {} of {} targets{open}; in all {:.1} h (at least {:.1} h of processor \
                 time) and {} runs, and an hour or more since the last finding in {} targets",
                ran.len(),
                TARGETS.len(),
                hours("seconds"),
                hours("processor_seconds"),
                all("runs").sum::<u64>(),
                long,
            ),
            details: Value::Object(self.0.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::session::Finding, *};

    fn none(_: &str) -> bool {
        false
    }

    fn all(_: &str) -> bool {
        true
    }

    fn session(seconds: u64, findings: usize) -> Session {
        Session {
            time: Duration::from_secs(seconds),
            processor: Duration::from_secs(seconds / 2),
            runs: 10,
            edges: seconds,
            is_cut: false,
            findings: (0..findings)
                .map(|number| Finding {
                    input: format!("/findings/crash-{number}").into(),
                    lines: Vec::new(),
                    again: String::new(),
                })
                .collect(),
        }
    }

    /// Whatever other targets do, and whatever is stopped before its end, or lacks the input.
    #[test]
    fn a_finding_is_open_until_its_target_runs_without_one() {
        let mut totals = Totals(Map::new());
        for (name, _) in TARGETS {
            totals.add(name, &session(HOUR, 0), none);
        }
        let cut = Session {
            is_cut: true,
            ..session(HOUR, 0)
        };
        totals.add("elf", &session(HOUR, 2), all);
        totals.add("elf", &cut, all);
        totals.add("elf", &session(HOUR, 0), |input| input == "crash-1");
        totals.add("json", &session(HOUR, 0), all);
        assert_eq!(totals.0["elf"][OPEN], json!(["crash-0"]));
        let run = |totals: &Totals| totals.run(String::new(), &["json"], Duration::ZERO, 0);
        assert_eq!(run(&totals).passed, Some(false));
        let result = run(&totals).result;
        let expected = format!(
            "no finding in 1 of {} targets; not known to be mended: elf; in all",
            TARGETS.len()
        );
        assert!(result.starts_with(&expected), "{result}");
        totals.add("elf", &session(HOUR, 0), all);
        assert_eq!(run(&totals).passed, Some(true));
        assert!(!run(&totals).result.contains("mended"));
    }

    #[test]
    fn runs_add_up_and_a_finding_begins_anew() {
        let mut totals = Totals(Map::new());
        for (seconds, findings) in [(4000, 0), (100, 1), (3000, 0), (601, 0)] {
            totals.add("elf", &session(seconds, findings), all);
        }
        totals.add("json", &session(60, 0), all);
        let details = &totals
            .run(String::new(), &["elf"], Duration::ZERO, 0)
            .details;
        assert_eq!(
            details["elf"],
            json!({
                "seconds": 7701, "processor_seconds": 3850, "runs": 40, "edges": 601, "findings": 1,
                "seconds_since_finding": 3601, "open": [],
            })
        );
        let run = totals.run(String::new(), &["elf", "json"], Duration::ZERO, 2);
        assert_eq!(run.passed, Some(false));
        let run_of = |totals: &Totals| totals.run(String::new(), &["elf"], Duration::ZERO, 0);
        assert_eq!(run_of(&totals).passed, None);
        let mut all = Totals(Map::new());
        for (name, _) in TARGETS {
            all.add(name, &session(HOUR, 0), none);
        }
        assert_eq!(run_of(&all).passed, Some(true));
        assert!(
            run.result.starts_with("2 findings in 2 of"),
            "{}",
            run.result
        );
        assert!(
            run.result
                .contains("in all 2.2 h (at least 1.1 h of processor time) and 50 runs"),
            "{}",
            run.result
        );
        assert!(
            run.result.ends_with("finding in 1 targets"),
            "{}",
            run.result
        );
    }
}
