//! The figures as JSON.

use super::{
    super::{
        json::{self, CountsDocument},
        sizes::ImageSize,
    },
    Unreadable,
    host::Host,
    reading::Cell,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// The layout of the document; another number is another layout.
pub(super) const SCHEMA: u32 = 1;

/// What the figures are, so that nobody takes those of `--counts` for them.
const KIND: &str = "latency";

/// All that is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Document {
    schema: u32,
    kind: String,
    pub(in super::super) host: Host,
    /// Packages and compiler, with their versions.
    pub(in super::super) versions: BTreeMap<String, String>,
    /// What could not be measured, and why: sentences without their full stops.
    pub(in super::super) left_out: Vec<String>,
    pub(in super::super) cells: Vec<Cell>,
    /// What the same run counted; none where only latencies were measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in super::super) counts: Option<CountsDocument>,
    /// How large guest programs are; none where that was not measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in super::super) images: Vec<ImageSize>,
}

impl Document {
    pub(super) fn new(
        host: Host,
        versions: BTreeMap<String, String>,
        left_out: Vec<String>,
        cells: Vec<Cell>,
    ) -> Self {
        Self {
            schema: SCHEMA,
            kind: KIND.into(),
            host,
            versions,
            left_out,
            cells,
            counts: None,
            images: Vec::new(),
        }
    }

    /// The document as text. Not indented: most of it is pairs of numbers.
    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// Reads what [`to_json`](Self::to_json) gave.
    pub(in super::super) fn read(name: &Path) -> Result<Self, Unreadable> {
        let text = json::read(name).map_err(|reason| Unreadable::File {
            name: name.to_owned(),
            reason,
        })?;
        Self::parse(name, &text)
    }

    pub(in super::super) fn parse(name: &Path, text: &str) -> Result<Self, Unreadable> {
        let name = name.to_owned();
        let document: Value = match serde_json::from_str(text) {
            Ok(document) => document,
            Err(reason) => return Err(Unreadable::Json { name, reason }),
        };
        let kind = document.get("kind").and_then(Value::as_str);
        if kind != Some(KIND) {
            let found = match kind {
                Some(kind) => kind.to_owned(),
                None if document.get("counts").is_some() => "counts".into(),
                None => "unknown".into(),
            };
            return Err(Unreadable::Kind { name, found });
        }
        let schema = document.get("schema").and_then(Value::as_u64).unwrap_or(0);
        if schema != u64::from(SCHEMA) {
            return Err(Unreadable::Schema {
                name,
                found: schema,
            });
        }
        serde_json::from_value(document).map_err(|reason| Unreadable::Layout { name, reason })
    }

    #[cfg(test)]
    pub(in super::super) fn for_test(cells: Vec<Cell>) -> Self {
        let versions = [("rustc".into(), "9.8.7".into())].into();
        Self::new(
            Host::for_test(),
            versions,
            vec!["the moon is left out".into()],
            cells,
        )
    }
}

/// A made-up cell: its spans go from the same values, each multiplied by a number of its own.
#[cfg(test)]
pub(in super::super) fn made_up_cell(
    runtime: &str,
    values: &[u64],
    points: &[(&str, u64)],
) -> Cell {
    use super::distribution::{Distribution, Span};

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
