//! Figures of a Hyperlight guest's host calls.

use serde::Serialize;
use std::time::Duration;

/// What the calls are, in how many sandboxes, how many are in flight in each, and the bytes of a
/// result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Load {
    /// `function` and `function-block_on`: calls of a guest function that calls nothing. Else how
    /// the guest calls the host.
    pub(crate) what: &'static str,
    pub(crate) sandboxes: u32,
    pub(crate) in_flight: u32,
    pub(crate) bytes: u32,
}

const fn load(what: &'static str, sandboxes: u32, in_flight: u32, bytes: u32) -> Load {
    Load {
        what,
        sandboxes,
        in_flight,
        bytes,
    }
}

/// The figures, in the order of the table's rows.
pub(crate) const LOADS: &[Load] = &[
    load("function", 1, 0, 0),
    load("function-block_on", 1, 0, 0),
    load("plain", 1, 1, 8),
    load("async", 1, 1, 8),
    load("async", 1, 10, 8),
    load("async", 1, 100, 8),
    load("async", 1, 1000, 8),
    load("async-linger-5ms", 1, 10, 8),
    load("poll_once", 1, 1, 8),
    load("poll_once", 1, 10, 8),
    load("poll_once", 1, 100, 8),
    load("poll_once", 20, 10, 8),
    load("plain", 1, 1, 40_960),
    load("async", 1, 1, 40_960),
    load("async", 1, 10, 40_960),
    load("async", 1, 100, 40_960),
];

impl Load {
    /// Its name in the runner's output.
    pub(crate) fn key(&self) -> String {
        let Self {
            what,
            sandboxes,
            in_flight,
            bytes,
        } = self;
        format!("host_call/{what}/{sandboxes}/{in_flight}/{bytes}")
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
    /// How long single calls took: half of them at most this, and 99 of 100.
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
}

/// What the runner counted and measured for one figure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    /// At least one.
    pub(crate) calls: u32,
    pub(crate) took: Duration,
    pub(crate) exits: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
}

impl HostCalls {
    pub(crate) fn new(mode: String, load: Load, counted: Counted) -> Self {
        let count = f64::from(counted.calls.max(1));
        Self {
            case: "host_call",
            mode,
            load,
            calls: counted.calls,
            calls_per_second: count / counted.took.as_secs_f64().max(1e-9),
            exits_per_call: counted.exits as f64 / count,
            p50_ns: counted.p50_ns,
            p99_ns: counted.p99_ns,
        }
    }
}
