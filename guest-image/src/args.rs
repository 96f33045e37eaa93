//! The guest's arguments: the words of its command line.

use crate::boot::start_info;

/// The words of the command line.
pub fn words() -> impl Iterator<Item = &'static str> {
    start_info::command_line().split_ascii_whitespace()
}

/// The value of the last argument `NAME=VALUE` with this name.
///
/// ```no_run
/// let case = dormir_guest::args::value("case").unwrap_or("all");
/// ```
#[must_use]
pub fn value(name: &str) -> Option<&'static str> {
    let mut last = None;
    for word in words() {
        let value = word
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('='));
        last = value.or(last);
    }
    last
}
