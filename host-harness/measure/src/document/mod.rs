//! What is measured, as documents: plain data that is written as JSON, and read again.
//!
//! Nothing here runs a guest or draws.

pub mod counts;
pub(crate) mod distribution;
mod host;
pub(crate) mod host_calls;
pub(crate) mod hyperlight;
pub(crate) mod io;
pub(crate) mod latency;
pub(crate) mod native;
pub mod sizes;
pub(crate) mod source;

pub(crate) use host::Host;

use std::{collections::BTreeMap, time::SystemTime};

/// Packages, compilers and QEMU, with their versions.
pub(crate) type Versions = BTreeMap<String, String>;

/// As in `dormir 0.1.0, rustc 1.95.0`.
pub(crate) fn in_words(versions: &Versions) -> String {
    let versions = versions.iter();
    let versions: Vec<String> = versions
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    versions.join(", ")
}

/// The time at which a document is made, in UTC: `2026-01-02T03:04:05Z`.
fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// Made-up versions.
#[cfg(test)]
pub(crate) fn versions_for_test() -> Versions {
    [("rustc".into(), "9.8.7".into())].into()
}
