//! Several files as one document: latencies, and counts.

use super::{
    counts::{self, CountsDocument},
    latency::{Cell, Document, DocumentError},
};
use crate::files;
use dormir_harness::vmm::Vmm;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Files that do not make a document.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error(transparent)]
    DocumentError(#[from] DocumentError),
    #[error(
        "{} has counts of schema {found}, and this command reads schema {}: count again with the \
         same version of this command",
        name.display(),
        counts::SCHEMA
    )]
    Schema { name: PathBuf, found: u64 },
    #[error("{} has counts that cannot be read ({reason}): count again", name.display())]
    Counts {
        name: PathBuf,
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

/// Reads files with latencies, and with counts, of which there may be one each.
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
    for (name, text) in texts {
        let twice = |one: &PathBuf, what| SourceError::Twice {
            one: one.clone(),
            other: name.clone(),
            what,
        };
        if let Some(found) = read_counts(name, text)? {
            if let Some((one, _)) = counts.replace((name, found)) {
                return Err(twice(one, "counts"));
            }
        } else if let Some((one, _)) = latencies.replace((name, read_latencies(name, text)?)) {
            return Err(twice(one, "latencies"));
        }
    }
    let Some((name, mut document)) = latencies else {
        return Err(SourceError::NoLatencies);
    };
    if let Some((other, found)) = counts
        && document.counts.replace(found).is_some()
    {
        return Err(SourceError::Twice {
            one: name.clone(),
            other: other.clone(),
            what: "counts",
        });
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

/// The counts, if it is such a file. The reader of latencies reports what is wrong with any other.
fn read_counts(name: &Path, text: &str) -> Result<Option<CountsDocument>, SourceError> {
    let Ok(found) = serde_json::from_str::<Value>(text) else {
        return Ok(None);
    };
    if found.get("kind").is_some() || !found.get("counts").is_some_and(Value::is_array) {
        return Ok(None);
    }
    let schema = found.get("schema").and_then(Value::as_u64).unwrap_or(0);
    if schema != u64::from(counts::SCHEMA) {
        return Err(SourceError::Schema {
            name: name.to_owned(),
            found: schema,
        });
    }
    let read = serde_json::from_value(found).map_err(|reason| SourceError::Counts {
        name: name.to_owned(),
        reason,
    });
    read.map(Some)
}

#[cfg(test)]
mod tests {
    use super::{super::latency::made_up_cell, *};
    use std::fs;

    const COUNTS: &str = r#"{"schema": 1, "counts": [], "exits": [], "versions": {}}"#;

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
        for texts in [[&*latencies, COUNTS], [COUNTS, &*latencies]] {
            let document = read_all(&texts).expect("a page");
            assert_eq!(document.cells.len(), 1);
            assert!(document.counts.is_some());
        }
        assert!(read_all(&[&latencies]).expect("a page").counts.is_none());
    }

    #[test]
    fn what_makes_no_page_is_refused_with_a_sentence() {
        let one = latencies(&[5]);
        let with_counts = {
            let mut document = read_all(&[&one, COUNTS]).expect("a page");
            document.images.clear();
            json_of(&document)
        };
        let without_spans = {
            let cell = made_up_cell("dormir", &[], &[]);
            json_of(&Document::for_test(vec![cell]))
        };
        for (texts, reason) in [
            (&[COUNTS][..], "none of the files has latencies"),
            (&[&*one, &one], "both have latencies"),
            (&[COUNTS, &*one, COUNTS], "both have counts"),
            (&[&*with_counts, COUNTS], "both have counts"),
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
