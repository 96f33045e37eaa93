//! Several files as one document: latencies, counts, and I/O.

use super::{
    counts::{self, CountsDocument},
    io::{self, IoDocument},
    latency::{Cell, Document, DocumentError},
};
use crate::files;
use dormir_harness::vmm::Vmm;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Files that do not make a document.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error(transparent)]
    DocumentError(#[from] DocumentError),
    #[error(
        "{} has {what} of schema {found}, and this command reads schema {known}: measure again \
         with the same version of this command",
        name.display()
    )]
    Schema {
        name: PathBuf,
        what: &'static str,
        found: u64,
        known: u32,
    },
    #[error("{} has {what} that cannot be read ({reason}): measure again", name.display())]
    Layout {
        name: PathBuf,
        what: &'static str,
        reason: serde_json::Error,
    },
    #[error(
        "{}: the cell {cell} has no sample: measure again with the same version of this command",
        name.display()
    )]
    Empty { name: PathBuf, cell: String },
    #[error(
        "{} and {} both have {what}: pass --from each kind once",
        one.display(),
        other.display()
    )]
    Twice {
        one: PathBuf,
        other: PathBuf,
        what: &'static str,
    },
    #[error("none of the files has latencies: pass --from a file that --latency --json wrote")]
    NoLatencies,
    #[error("no figures are left: the files have none under the VMMs that --vmm names")]
    NoVmmLeft,
}

/// Reads files with latencies, with counts and with I/O, of which there may be one each.
pub(crate) fn read(names: &[PathBuf]) -> Result<Document, SourceError> {
    let mut texts = Vec::new();
    for name in names {
        // Once: what comes through a pipe comes once.
        let text = files::read(name).map_err(|reason| DocumentError::File {
            name: name.clone(),
            reason,
        })?;
        texts.push((name.clone(), text));
    }
    of_texts(&texts)
}

/// The same of what the files have in them.
pub(crate) fn of_texts(texts: &[(PathBuf, String)]) -> Result<Document, SourceError> {
    let mut latencies: Option<(&PathBuf, Document)> = None;
    let mut counts: Option<(&PathBuf, CountsDocument)> = None;
    let mut io: Option<(&PathBuf, IoDocument)> = None;
    for (name, text) in texts {
        let twice = |one: &PathBuf, what| SourceError::Twice {
            one: one.clone(),
            other: name.clone(),
            what,
        };
        if let Some(found) = read_counts(name, text)? {
            if let Some((one, _)) = counts.replace((name, found)) {
                return Err(twice(one, COUNTS));
            }
        } else if let Some(found) = read_io(name, text)? {
            if let Some((one, _)) = io.replace((name, found)) {
                return Err(twice(one, IO));
            }
        } else if let Some((one, _)) = latencies.replace((name, read_latencies(name, text)?)) {
            return Err(twice(one, "latencies"));
        }
    }
    let Some((name, mut document)) = latencies else {
        return Err(SourceError::NoLatencies);
    };
    let twice = |other: &PathBuf, what| SourceError::Twice {
        one: name.clone(),
        other: other.clone(),
        what,
    };
    if let Some((other, found)) = counts
        && document.counts.replace(found).is_some()
    {
        return Err(twice(other, COUNTS));
    }
    if let Some((other, found)) = io
        && document.io.replace(found).is_some()
    {
        return Err(twice(other, IO));
    }
    Ok(document)
}

impl Document {
    /// What was measured under these VMMs, or all if none is named.
    pub(crate) fn only(mut self, vmms: &[Vmm]) -> Result<Self, SourceError> {
        let names: Vec<String> = vmms.iter().map(Vmm::to_string).collect();
        self.cells
            .retain(|cell| names.is_empty() || names.contains(&cell.vmm));
        if self.cells.is_empty() {
            return Err(SourceError::NoVmmLeft);
        }
        Ok(self)
    }
}

/// The latencies of a file with this text, each with samples.
pub(crate) fn read_latencies(name: &Path, text: &str) -> Result<Document, SourceError> {
    let document = Document::parse(name, text)?;
    let is_empty = |cell: &&Cell| {
        let mut spans = cell.spans.iter();
        cell.spans.is_empty() || spans.any(|span| span.distribution.len() == 0)
    };
    match document.cells.iter().find(is_empty) {
        Some(cell) => Err(SourceError::Empty {
            name: name.to_owned(),
            cell: [&cell.vmm, &cell.timer, &cell.path, &cell.runtime]
                .map(String::as_str)
                .join(", "),
        }),
        None => Ok(document),
    }
}

/// What files have, in sentences.
const COUNTS: &str = "counts";
const IO: &str = "figures of I/O";

/// The counts, if it is such a file. The reader of latencies reports what is wrong with any other.
fn read_counts(name: &Path, text: &str) -> Result<Option<CountsDocument>, SourceError> {
    let is_one = |found: &Value| {
        found.get("kind").is_none() && found.get("counts").is_some_and(Value::is_array)
    };
    read_kind(name, text, (COUNTS, counts::SCHEMA), is_one)
}

/// The figures of I/O, if it is such a file.
fn read_io(name: &Path, text: &str) -> Result<Option<IoDocument>, SourceError> {
    let is_one = |found: &Value| found.get("kind").and_then(Value::as_str) == Some(io::KIND);
    read_kind(name, text, (IO, io::SCHEMA), is_one)
}

/// Reads a file of `what` with the schema `known`, if it is one.
fn read_kind<T: DeserializeOwned>(
    name: &Path,
    text: &str,
    (what, known): (&'static str, u32),
    is_one: impl Fn(&Value) -> bool,
) -> Result<Option<T>, SourceError> {
    let Some(document) = serde_json::from_str::<Value>(text).ok().filter(is_one) else {
        return Ok(None);
    };
    let found = document.get("schema").and_then(Value::as_u64).unwrap_or(0);
    if found != u64::from(known) {
        return Err(SourceError::Schema {
            name: name.to_owned(),
            what,
            found,
            known,
        });
    }
    let read = serde_json::from_value(document).map_err(|reason| SourceError::Layout {
        name: name.to_owned(),
        what,
        reason,
    });
    read.map(Some)
}

#[cfg(test)]
mod tests {
    use super::{super::latency::made_up_cell, *};
    use std::fs;

    const COUNTS_FILE: &str = r#"{"schema": 1, "counts": [], "exits": [], "versions": {}}"#;

    fn latencies(values: &[u64]) -> String {
        let cell = made_up_cell("dormir", values, &[("poll", 1)]);
        let document = Document::for_test(vec![cell]);
        json_of(&document)
    }

    fn json_of(document: &Document) -> String {
        serde_json::to_string(document).expect("it can be written")
    }

    /// Reads files with these texts.
    fn read_all(texts: &[&str]) -> Result<Document, SourceError> {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let write = |(index, text): (usize, &&str)| {
            let name = folder.path().join(format!("{index}.json"));
            fs::write(&name, text).expect("a file is made");
            name
        };
        let names: Vec<_> = texts.iter().enumerate().map(write).collect();
        read(&names)
    }

    #[test]
    fn latencies_and_counts_come_in_any_order() {
        let latencies = latencies(&[5]);
        for texts in [[&*latencies, COUNTS_FILE], [COUNTS_FILE, &*latencies]] {
            let document = read_all(&texts).expect("a page");
            assert_eq!(document.cells.len(), 1);
            assert!(document.counts.is_some());
        }
        assert!(read_all(&[&latencies]).expect("a page").counts.is_none());
    }

    #[test]
    fn figures_of_io_are_taken_along() {
        let (latencies, io) = (latencies(&[5]), io::made_up().to_json().expect("JSON"));
        let document = read_all(&[&io, COUNTS_FILE, &latencies]).expect("a page");
        assert!(document.counts.is_some() && document.io.is_some());
        let both = json_of(&document);
        for (texts, reason) in [
            (&[&*io, &latencies, &io][..], "both have figures of I/O"),
            (&[&*io, &both], "both have figures of I/O"),
            (&[&*io], "none of the files has latencies"),
            (
                &[r#"{"schema": 2, "kind": "io"}"#],
                "figures of I/O of schema 2",
            ),
            (&[r#"{"schema": 1, "kind": "io"}"#], "missing field"),
        ] {
            let error = read_all(texts).expect_err(reason).to_string();
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }

    #[test]
    fn what_makes_no_page_is_refused_with_a_sentence() {
        let one = latencies(&[5]);
        let with_counts = {
            let mut document = read_all(&[&one, COUNTS_FILE]).expect("a page");
            document.images.clear();
            json_of(&document)
        };
        let without_spans = {
            let cell = made_up_cell("dormir", &[], &[]);
            json_of(&Document::for_test(vec![cell]))
        };
        for (texts, reason) in [
            (&[COUNTS_FILE][..], "none of the files has latencies"),
            (&[&*one, &one], "both have latencies"),
            (&[COUNTS_FILE, &*one, COUNTS_FILE], "both have counts"),
            (&[&*with_counts, COUNTS_FILE], "both have counts"),
            (&[&latencies(&[])], "a histogram without values"),
            (
                &[r#"{"schema": 7, "counts": []}"#, &one],
                "counts of schema 7",
            ),
            (&[r#"{"schema": 1, "counts": []}"#, &one], "missing field"),
            (
                &[&without_spans],
                "kvm, tsc-deadline, deadline, dormir has no sample",
            ),
            (&["{}", &one], "`unknown`"),
            (&["{", &one], "is no JSON"),
        ] {
            let error = read_all(texts).expect_err(reason).to_string();
            assert!(error.contains(reason), "{reason}: {error}");
        }
        let gone = read(&["/no/such/file.json".into()]).expect_err("there is none");
        assert!(
            gone.to_string()
                .contains("/no/such/file.json cannot be read"),
            "{gone}"
        );
    }
}
