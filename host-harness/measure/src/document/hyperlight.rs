//! Figures of Hyperlight guests.

use super::{Host, Versions, distribution::Distribution, host_calls::HostCalls, now};
use dormir_harness::hyperlight::SandboxMode;
use serde::Serialize;
use std::time::Duration;

/// What a figure is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Subject {
    /// `call`, `idle` or `sleep`.
    pub(crate) case: &'static str,
    pub(crate) what: &'static str,
    /// How long a sleep was asked to take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) asked_ns: Option<u64>,
}

const fn subject(case: &'static str, what: &'static str) -> Subject {
    Subject {
        case,
        what,
        asked_ns: None,
    }
}

const CALLS: &[Subject] = &[
    subject("call", "plain"),
    subject("call", "host-function"),
    subject("call", "block_on"),
];

const WAITS: &[Subject] = &[
    subject("idle", "wait-elapsed"),
    subject("idle", "wait-processor"),
];

const TICKS: &[Subject] = &[subject("idle", "tick-processor")];

/// The sleeps whose accuracy is measured.
const LENGTHS: [Duration; 3] = [
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(100),
];

/// The figures of a mode, in the order of the table's rows.
pub(crate) fn subjects(mode: SandboxMode) -> Vec<Subject> {
    let idles = match mode {
        SandboxMode::HostWait => WAITS,
        SandboxMode::Interrupts => TICKS,
    };
    let sleeps = LENGTHS.iter().flat_map(|length| {
        ["guest", "host"].map(|what| Subject {
            asked_ns: Some(length.as_nanos() as u64),
            ..subject("sleep", what)
        })
    });
    let others = [CALLS, idles].into_iter().flatten().copied();
    others.chain(sleeps).collect()
}

impl Subject {
    /// Its name in the runner's output.
    pub(crate) fn key(&self) -> String {
        match self.asked_ns {
            None => format!("{}/{}", self.case, self.what),
            Some(asked) => format!("{}/{asked}/{}", self.case, self.what),
        }
    }
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    /// The mode, by its name as a VMM.
    pub(crate) vmm: String,
    #[serde(flatten)]
    pub(crate) subject: Subject,
    #[serde(rename = "histogram_ns")]
    pub(crate) distribution: Distribution,
}

/// The layout of the document; another number is another layout.
const SCHEMA: u32 = 1;

/// What the figures are, so that others are not taken for them.
const KIND: &str = "hyperlight";

/// All figures of one run.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// When the run ended, in UTC.
    date: String,
    pub(crate) host: Host,
    /// Packages and compiler, with their versions.
    pub(crate) versions: Versions,
    pub(crate) rows: Vec<Row>,
    pub(crate) host_calls: Vec<HostCalls>,
}

/// The document as it is written.
#[derive(Serialize)]
struct Written<'a> {
    schema: u32,
    kind: &'static str,
    date: &'a str,
    host: &'a Host,
    versions: &'a Versions,
    rows: Vec<AnyRow<'a>>,
}

/// A row, which its `case` tells from others.
#[derive(Serialize)]
#[serde(untagged)]
enum AnyRow<'a> {
    Timed(&'a Row),
    HostCalls(&'a HostCalls),
}

impl Document {
    pub(crate) fn new(
        host: Host,
        versions: Versions,
        rows: Vec<Row>,
        host_calls: Vec<HostCalls>,
    ) -> Self {
        Self {
            date: now(),
            host,
            versions,
            rows,
            host_calls,
        }
    }

    /// The document as text. Not indented: most of it is pairs of numbers.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        let timed = self.rows.iter().map(AnyRow::Timed);
        let host_calls = self.host_calls.iter().map(AnyRow::HostCalls);
        let written = Written {
            schema: SCHEMA,
            kind: KIND,
            date: &self.date,
            host: &self.host,
            versions: &self.versions,
            rows: timed.chain(host_calls).collect(),
        };
        Ok(serde_json::to_string(&written)? + "\n")
    }

    /// A made-up document with two samples for each figure of both modes.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        let row = |mode: SandboxMode| {
            let subjects = subjects(mode).into_iter();
            subjects.map(move |subject| Row {
                vmm: mode.to_string(),
                subject,
                distribution: Distribution::of([1000, 2000]),
            })
        };
        let rows = SandboxMode::ALL.into_iter().flat_map(row).collect();
        let calls = |mode: SandboxMode| {
            use super::host_calls::Counted;
            let loads = super::host_calls::LOADS.iter();
            let counted = Counted {
                calls: 10,
                took: Duration::from_secs(4),
                exits: 5,
                p50_ns: 300_000_000,
                p99_ns: 400_000_000,
            };
            loads.map(move |load| HostCalls::new(mode.to_string(), *load, counted))
        };
        let calls = SandboxMode::ALL.into_iter().flat_map(calls).collect();
        Self {
            date: "2026-01-02T03:04:05Z".into(),
            ..Self::new(Host::for_test(), super::versions_for_test(), rows, calls)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_document_has_the_layout_that_others_read() {
        let mut document = Document::for_test();
        document
            .rows
            .retain(|row| row.vmm == "hyperlight-interrupts" && row.subject.case != "call");
        document.rows.truncate(2);
        document.host_calls.truncate(1);
        let text = document.to_json().expect("it can be written");
        let read: Value = serde_json::from_str(&text).expect("JSON");
        let expected = json!({
            "schema": 1,
            "kind": "hyperlight",
            "date": "2026-01-02T03:04:05Z",
            "host": {"cpu": "A processor", "kernel": null, "kvm_module": "kvm_pvm",
                     "hardware_assisted": false, "halt_poll_ns": 200_000, "qemu": null},
            "versions": {"rustc": "9.8.7"},
            "rows": [
                {"vmm": "hyperlight-interrupts", "case": "idle", "what": "tick-processor",
                 "histogram_ns": [[1000, 1], [2000, 1]]},
                {"vmm": "hyperlight-interrupts", "case": "sleep", "what": "guest",
                 "asked_ns": 1_000_000, "histogram_ns": [[1000, 1], [2000, 1]]},
                {"case": "host_call", "mode": "hyperlight", "what": "function", "sandboxes": 1,
                 "in_flight": 0, "bytes": 0, "calls": 10, "calls_per_second": 2.5,
                 "exits_per_call": 0.5, "p50_ns": 300_000_000, "p99_ns": 400_000_000},
            ],
        });
        assert_eq!(read, expected);
    }
}
