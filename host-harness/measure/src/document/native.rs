//! Native times of executors on the host, beside one another: the table of `host-harness/bench`.

use super::{Host, Versions, now};
use serde::{Deserialize, Serialize};

/// The layout of the document; another number is another layout.
const SCHEMA: u32 = 1;

/// What the figures are, so that no one takes others for them.
const KIND: &str = "native";

/// One runtime in one case, beside the case's base.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ratio {
    pub(crate) case: String,
    /// How many tasks there were.
    pub(crate) n: u64,
    pub(crate) runtime: String,
    /// Its median time by the base's: 1 of the base itself.
    pub(crate) ratio: f64,
    /// Half of the range in which the middle half of the rounds' own ratios lies; none of the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spread: Option<f64>,
    /// The base's median time for one thing; none of the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nanoseconds: Option<f64>,
}

/// All ratios of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NativeDocument {
    schema: u32,
    kind: String,
    /// When the run ended, in UTC.
    pub(crate) date: String,
    pub(crate) host: Host,
    pub(crate) versions: Versions,
    pub(crate) ratios: Vec<Ratio>,
}

impl NativeDocument {
    pub(crate) fn new(host: Host, versions: Versions, ratios: Vec<Ratio>) -> Self {
        Self {
            schema: SCHEMA,
            kind: KIND.into(),
            date: now(),
            host,
            versions,
            ratios,
        }
    }

    /// The document as text.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}
