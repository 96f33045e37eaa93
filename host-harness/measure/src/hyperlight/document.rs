//! The figures as JSON.

use super::{super::latency::host::Host, reading::Row};
use serde::Serialize;
use std::collections::BTreeMap;

/// The layout of the document; another number is another layout.
const SCHEMA: u32 = 1;

/// What the figures are, so that nobody takes others for them.
const KIND: &str = "hyperlight";

/// All that is shown.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Document {
    schema: u32,
    kind: &'static str,
    pub(super) host: Host,
    /// Packages and compiler, with their versions.
    pub(super) versions: BTreeMap<String, String>,
    pub(super) rows: Vec<Row>,
}

impl Document {
    pub(super) fn new(host: Host, versions: BTreeMap<String, String>, rows: Vec<Row>) -> Self {
        Self {
            schema: SCHEMA,
            kind: KIND,
            host,
            versions,
            rows,
        }
    }

    /// The document as text. Not indented: most of it is pairs of numbers.
    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// A made-up document with two samples for each figure of both modes.
    #[cfg(test)]
    pub(super) fn for_test() -> Self {
        use super::reading::{made_up, read};
        use dormir_harness::hyperlight::Mode;

        let versions = [("rustc".into(), "9.8.7".into())].into();
        let rows = Mode::ALL.map(|mode| read(mode, &made_up(mode)).expect("they can be read"));
        Self::new(
            Host::for_test(),
            versions,
            rows.into_iter().flatten().collect(),
        )
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
        let text = document.to_json().expect("it can be written");
        let read: Value = serde_json::from_str(&text).expect("JSON");
        let expected = json!({
            "schema": 1,
            "kind": "hyperlight",
            "host": {"cpu": "A processor", "kernel": null, "kvm_module": "kvm_pvm",
                     "hardware_assisted": false, "halt_poll_ns": 200_000, "qemu": null},
            "versions": {"rustc": "9.8.7"},
            "rows": [
                {"vmm": "hyperlight-interrupts", "case": "idle", "what": "tick-processor",
                 "histogram_ns": [[1000, 1], [2000, 1]]},
                {"vmm": "hyperlight-interrupts", "case": "sleep", "what": "guest",
                 "asked_ns": 1_000_000, "histogram_ns": [[1000, 1], [2000, 1]]},
            ],
        });
        assert_eq!(read, expected);
    }
}
