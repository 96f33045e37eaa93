//! Figures in Markdown files, which come from recorded runs.
//!
//! A figure stands between two comments, which no reader sees:
//!
//! ```text
//! <!-- figures: counts-tasks -->
//! | a table | of a record |
//! <!-- /figures -->
//! ```
//!
//! or, where it is a value, within a line: `takes <!-- figures: slack -->0.38<!-- /figures --> of
//! each`. The records are in `docs/figures`; [`records`] names them and what is shown of each.

mod counts;
mod io;
mod latency;
mod native;
pub(crate) mod records;
mod tables;

use records::{RecordError, Records};
use tables::Figure;

const OPENS: &str = "<!-- figures: ";
const OPENED: &str = " -->";
const CLOSES: &str = "<!-- /figures -->";

/// A Markdown file whose figures cannot be put in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpliceError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("`{OPENS}{0}` has no `{OPENED}` in its line: end the comment there")]
    NotOpened(String),
    #[error("the figure `{0}` has no `{CLOSES}` before the next one: put it behind the figure")]
    NotClosed(String),
    #[error(
        "the figure `{0}` begins a line, so its comment would end the paragraph: break the \
         line elsewhere"
    )]
    BeginsLine(String),
}

/// A Markdown text with its figures as the records have them, and the names of those that were
/// otherwise.
#[derive(Debug, PartialEq)]
pub(crate) struct Spliced {
    pub(crate) text: String,
    pub(crate) changed: Vec<String>,
}

/// Puts the figures of the records into a Markdown text.
pub(crate) fn splice(text: &str, records: &Records) -> Result<Spliced, SpliceError> {
    let mut spliced = Spliced {
        text: String::with_capacity(text.len()),
        changed: Vec::new(),
    };
    let mut rest = text;
    while let Some((before, opened)) = rest.split_once(OPENS) {
        spliced.text += before;
        let (line, _) = opened.split_once('\n').unwrap_or((opened, ""));
        let (name, _) = line
            .split_once(OPENED)
            .ok_or_else(|| SpliceError::NotOpened(line.to_owned()))?;
        let behind = &opened[name.len() + OPENED.len()..];
        let (old, after) = behind
            .split_once(CLOSES)
            .filter(|(old, _)| !old.contains(OPENS))
            .ok_or_else(|| SpliceError::NotClosed(name.to_owned()))?;
        let new = match records.figure(name)? {
            Figure::Table(table) => format!("\n{table}\n"),
            Figure::Value(_) if spliced.text.is_empty() || spliced.text.ends_with('\n') => {
                return Err(SpliceError::BeginsLine(name.to_owned()));
            }
            Figure::Value(value) => value,
        };
        if old != new {
            spliced.changed.push(name.to_owned());
        }
        spliced.text += &format!("{OPENS}{name}{OPENED}{new}{CLOSES}");
        rest = after;
    }
    spliced.text += rest;
    Ok(spliced)
}

#[cfg(test)]
mod tests;
