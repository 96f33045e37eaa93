//! Figures of a Hyperlight guest's host calls.

use serde::Serialize;
use std::time::Duration;

/// What the calls are, how many are in flight, and the bytes of argument and result of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Load {
    /// `plain` or `async`.
    pub(crate) what: &'static str,
    pub(crate) in_flight: u32,
    pub(crate) bytes: u32,
}

const fn load(what: &'static str, in_flight: u32, bytes: u32) -> Load {
    Load {
        what,
        in_flight,
        bytes,
    }
}

/// The figures, in the order of the table's rows.
pub(crate) const LOADS: &[Load] = &[
    load("plain", 1, 8),
    load("async", 1, 8),
    load("async", 10, 8),
    load("async", 100, 8),
    load("async", 1000, 8),
    load("async", 1, 30_000),
    load("async", 10, 30_000),
];

impl Load {
    /// Its name in the runner's output.
    pub(crate) fn key(&self) -> String {
        format!("host_call/{}/{}/{}", self.what, self.in_flight, self.bytes)
    }
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct HostCalls {
    case: &'static str,
    /// The mode, by its name as a VMM.
    pub(crate) mode: String,
    #[serde(flatten)]
    pub(crate) load: Load,
    pub(crate) calls: u32,
    pub(crate) calls_per_second: f64,
    pub(crate) exits_per_call: f64,
}

impl HostCalls {
    /// The figure of `calls` calls, at least one.
    pub(crate) fn new(mode: String, load: Load, calls: u32, took: Duration, exits: u64) -> Self {
        let count = f64::from(calls.max(1));
        Self {
            case: "host_call",
            mode,
            load,
            calls,
            calls_per_second: count / took.as_secs_f64().max(1e-9),
            exits_per_call: exits as f64 / count,
        }
    }
}
