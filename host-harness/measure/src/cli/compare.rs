//! `--compare`: what changed between two runs.

use crate::{
    document::latency::Document,
    report::compare::{Comparison, gate::Percentage},
};
use dormir_harness::{
    cli::command::{Ended, complain, ended},
    escape::escape_lines,
};
use std::{
    io::{self, Write},
    path::Path,
};

/// Prints what changed from the figures in one file to those in the other. The status is 1 if
/// dormir's became slower by more than is allowed.
pub(super) fn run(before: &Path, after: &Path, allowed: Option<Percentage>) -> Ended {
    let (before, after) = (Document::read(before)?, Document::read(after)?);
    let comparison = Comparison::of(&before, &after)?;
    // Names are what the files call them.
    let text = escape_lines(&comparison.text());
    let shown = io::stdout().write_all(text.as_bytes());
    let failures = allowed.and_then(|allowed| comparison.failures(allowed));
    for line in failures.iter().flat_map(|text| text.lines()) {
        complain(format_args!("{line}"));
    }
    ended(shown, u8::from(failures.is_some()))
}
