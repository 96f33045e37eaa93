//! Latencies: distributions from a deadline, or a wake, to points on the way to the poll.

use super::{
    Host, Versions,
    counts::CountsDocument,
    distribution::{Distribution, Span},
    io::IoDocument,
    now,
    sizes::ImageSize,
};
use crate::files;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    io,
    path::{Path, PathBuf},
};

/// One runtime, woken by one path, in one machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) vmm: String,
    pub(crate) timer: String,
    pub(crate) idle: String,
    /// What else there is to do, apart from the floor.
    pub(crate) load: String,
    pub(crate) path: String,
    pub(crate) runtime: String,
    /// How often the guest's TSC counts in a second.
    pub(crate) tsc_hz: u64,
    /// Rounds without a sample: the vCPU was awake when they began, or an early alarm was answered
    /// so late that the deadline had passed.
    pub(crate) missed: u64,
    /// Samples whose last interrupt came before the deadline, though their poll came after it.
    pub(crate) early: u64,
    /// By how much the start of all spans may lie too early or too late; 0 where it is a reading of
    /// the same clock as their ends.
    pub(crate) uncertainty_ns: u64,
    pub(crate) spans: Vec<Span>,
}

impl Cell {
    /// Whether two cells are of one guest.
    pub(crate) fn is_of_guest_of(&self, other: &Self) -> bool {
        let guest =
            |cell: &Self| [&cell.vmm, &cell.timer, &cell.idle, &cell.load].map(String::clone);
        guest(self) == guest(other)
    }

    /// Whether the guest has nothing else to do, halts, and is woken by deadlines.
    pub(crate) fn is_plain_sleep(&self) -> bool {
        (&*self.path, &*self.idle, &*self.load) == ("deadline", "halt", "none")
    }
}

/// What a span on a path is compared with, among the cells of one machine: the floor's handler, or
/// the first instruction of its main line.
pub(crate) fn floor<'a>(
    cells: impl IntoIterator<Item = &'a Cell>,
    path: &str,
    span: &Span,
) -> Option<&'a Distribution> {
    let is_floor = |cell: &&Cell| cell.runtime == "floor" && cell.path == path;
    let floor = cells.into_iter().find(is_floor)?;
    let to = if span.to == "handler" {
        "handler"
    } else {
        "poll"
    };
    let span = floor.spans.iter().find(|span| span.to == to)?;
    Some(&span.distribution)
}

/// The layout of the document; another number is another layout.
pub(crate) const SCHEMA: u32 = 1;

/// What the figures are, so that those of `--counts` are not taken for them.
const KIND: &str = "latency";

/// All latencies of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Document {
    schema: u32,
    kind: String,
    /// When the run ended, in UTC; older files do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) date: Option<String>,
    pub(crate) host: Host,
    /// Packages and compiler, with their versions.
    pub(crate) versions: Versions,
    /// What could not be measured, and why: sentences without their full stops.
    pub(crate) left_out: Vec<String>,
    pub(crate) cells: Vec<Cell>,
    /// What the same run counted; none where only latencies were measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) counts: Option<CountsDocument>,
    /// What another run measured of servers and disks, if its file was given too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) io: Option<IoDocument>,
    /// How large guest programs are; none where that was not measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) images: Vec<ImageSize>,
}

impl Document {
    pub(crate) fn new(
        host: Host,
        versions: Versions,
        left_out: Vec<String>,
        cells: Vec<Cell>,
    ) -> Self {
        Self {
            schema: SCHEMA,
            kind: KIND.into(),
            date: Some(now()),
            host,
            versions,
            left_out,
            cells,
            counts: None,
            io: None,
            images: Vec::new(),
        }
    }

    /// The document as text. Not indented: most of it is pairs of numbers.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// Reads what [`to_json`](Self::to_json) returned.
    pub(crate) fn read(name: &Path) -> Result<Self, DocumentError> {
        let text = files::read(name).map_err(|reason| DocumentError::File {
            name: name.to_owned(),
            reason,
        })?;
        Self::parse(name, &text)
    }

    pub(crate) fn parse(name: &Path, text: &str) -> Result<Self, DocumentError> {
        let name = name.to_owned();
        let document: Value = match serde_json::from_str(text) {
            Ok(document) => document,
            Err(reason) => return Err(DocumentError::Json { name, reason }),
        };
        let kind = document.get("kind").and_then(Value::as_str);
        if kind != Some(KIND) {
            let found = match kind {
                Some(kind) => kind.to_owned(),
                None if document.get("counts").is_some() => "counts".into(),
                None => "unknown".into(),
            };
            return Err(DocumentError::Kind { name, found });
        }
        let schema = document.get("schema").and_then(Value::as_u64).unwrap_or(0);
        if schema != u64::from(SCHEMA) {
            return Err(DocumentError::Schema {
                name,
                found: schema,
            });
        }
        serde_json::from_value(document).map_err(|reason| DocumentError::Layout { name, reason })
    }

    #[cfg(test)]
    pub(crate) fn for_test(cells: Vec<Cell>) -> Self {
        Self {
            date: None,
            ..Self::new(
                Host::for_test(),
                super::versions_for_test(),
                vec!["the moon is left out".into()],
                cells,
            )
        }
    }
}

/// A file that should have figures in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    #[error(
        "{} cannot be read ({reason}): pass a file that --latency --json wrote",
        name.display()
    )]
    File { name: PathBuf, reason: io::Error },
    #[error(
        "{} is no JSON ({reason}): pass a file that --latency --json wrote",
        name.display()
    )]
    Json {
        name: PathBuf,
        reason: serde_json::Error,
    },
    #[error(
        "{} has latencies that cannot be read ({reason}): measure again with the same version of \
         this command",
        name.display()
    )]
    Layout {
        name: PathBuf,
        reason: serde_json::Error,
    },
    #[error(
        "{} has figures of another kind (`{found}`): pass a file that --latency --json wrote",
        name.display()
    )]
    Kind { name: PathBuf, found: String },
    #[error(
        "{} has schema {found}, and this command reads schema {}: measure again with the same \
         version of this command",
        name.display(),
        SCHEMA
    )]
    Schema { name: PathBuf, found: u64 },
}

/// A made-up cell: its spans go from the same values, each multiplied by a number of its own.
#[cfg(test)]
pub(crate) fn made_up_cell(runtime: &str, values: &[u64], points: &[(&str, u64)]) -> Cell {
    let span = |&(to, factor): &(&str, u64)| Span {
        to: to.to_owned(),
        distribution: Distribution::of(values.iter().map(|value| value * factor)),
    };
    Cell {
        vmm: "kvm".into(),
        timer: "tsc-deadline".into(),
        idle: "halt".into(),
        load: "none".into(),
        path: "deadline".into(),
        runtime: runtime.into(),
        tsc_hz: 2_000_000_000,
        missed: 0,
        early: 0,
        uncertainty_ns: 0,
        spans: points.iter().map(span).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_document_has_the_layout_that_others_read() {
        let cell = made_up_cell("dormir", &[5, 5, 9], &[("poll", 1)]);
        let text = Document::for_test(vec![cell])
            .to_json()
            .expect("it can be written");
        let read: Value = serde_json::from_str(&text).expect("JSON");
        let expected = json!({
            "schema": 1,
            "kind": "latency",
            "host": {"cpu": "A processor", "kernel": null, "kvm_module": "kvm_pvm",
                     "hardware_assisted": false, "halt_poll_ns": 200_000, "qemu": null},
            "versions": {"rustc": "9.8.7"},
            "left_out": ["the moon is left out"],
            "cells": [{"vmm": "kvm", "timer": "tsc-deadline", "idle": "halt", "load": "none",
                       "path": "deadline", "runtime": "dormir", "tsc_hz": 2_000_000_000,
                       "missed": 0, "early": 0, "uncertainty_ns": 0,
                       "spans": [{"to": "poll", "histogram_ns": [[5, 2], [9, 1]]}]}],
        });
        assert_eq!(read, expected);
        let again = Document::parse(Path::new("a.json"), &text).expect("it can be read");
        assert_eq!(again.to_json().expect("it can be written"), text);
    }

    #[test]
    fn what_are_no_latencies_is_refused_by_name_and_reason() {
        for (text, reason) in [
            ("", "no JSON"),
            ("{\"schema\": 1, \"counts\": []}", "`counts`"),
            ("[]", "`unknown`"),
            ("{\"schema\": 99, \"kind\": \"latency\"}", "schema 99"),
            ("{\"kind\": \"latency\"}", "schema 0"),
            ("{\"schema\": 1, \"kind\": \"latency\"}", "missing field"),
        ] {
            let error = Document::parse(Path::new("a.json"), text).expect_err(text);
            let sentence = error.to_string();
            assert!(sentence.contains("a.json"), "{sentence}");
            assert!(sentence.contains(reason), "{text}: {sentence}");
        }
    }
}
