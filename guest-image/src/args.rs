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
    words()
        .filter_map(|word| word.split_once('='))
        .filter(|(key, _)| *key == name)
        .last()
        .map(|(_, value)| value)
}
