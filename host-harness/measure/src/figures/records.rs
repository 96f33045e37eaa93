//! The records, and what is shown of each by which name.

use super::{counts, io, latency, native, tables::Figure};
use crate::{
    document::{
        counts::CountsDocument, io::IoDocument, latency::Document, native::NativeDocument, source,
    },
    files,
};
use std::path::{Path, PathBuf};

/// The folder of the records in a checkout.
pub(crate) const FOLDER: &str = "docs/figures";

/// A record, and how it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Counts,
    Latency,
    Native,
    Io,
}

impl Record {
    const ALL: [Self; 4] = [Self::Counts, Self::Latency, Self::Native, Self::Io];

    fn file(self) -> &'static str {
        match self {
            Self::Counts => "counts.json",
            Self::Latency => "latency.json",
            Self::Native => "native.json",
            Self::Io => "io.json",
        }
    }

    /// What follows `cargo vm bench` to make it.
    fn options(self) -> &'static str {
        match self {
            Self::Counts => "--counts",
            Self::Latency => "--latency --vmm kvm --vmm qemu-tcg",
            Self::Native => "--native",
            Self::Io => "--io --linux",
        }
    }
}

/// Why a figure cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("there is no figure named `{0}`: `cargo vm bench --help` names them")]
    Unknown(String),
    #[error(
        "the figure `{name}` is not in {FOLDER}/{}: look for its runtime, case and number there",
        record.file()
    )]
    Missing { name: String, record: Record },
    #[error(
        "{FOLDER}/{} is not there: `cargo vm bench {} --json {FOLDER}/{}` records it",
        _0.file(), _0.options(), _0.file()
    )]
    NoRecord(Record),
    #[error("{} cannot be read: {reason}", file.display())]
    DocumentError { file: PathBuf, reason: String },
}

/// The records of a checkout, as far as they are there.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) counts: Option<CountsDocument>,
    pub(crate) latency: Option<Document>,
    pub(crate) native: Option<NativeDocument>,
    pub(crate) io: Option<IoDocument>,
}

impl Records {
    /// Reads those of the checkout in `root`.
    pub(crate) fn read(root: &Path) -> Result<Self, RecordError> {
        let mut records = Self::default();
        for record in Record::ALL {
            let file = root.join(FOLDER).join(record.file());
            if !file.exists() {
                continue;
            }
            let unreadable = |reason: String| RecordError::DocumentError {
                file: file.clone(),
                reason,
            };
            let text = files::read(&file).map_err(|error| unreadable(error.to_string()))?;
            let parsed = match record {
                Record::Latency => source::read_latencies(&file, &text)
                    .map(|found| records.latency = Some(found))
                    .map_err(|error| error.to_string()),
                Record::Counts => serde_json::from_str(&text)
                    .map(|found| records.counts = Some(found))
                    .map_err(|error| error.to_string()),
                Record::Native => serde_json::from_str(&text)
                    .map(|found| records.native = Some(found))
                    .map_err(|error| error.to_string()),
                Record::Io => serde_json::from_str(&text)
                    .map(|found| records.io = Some(found))
                    .map_err(|error| error.to_string()),
            };
            parsed.map_err(unreadable)?;
        }
        Ok(records)
    }

    /// The figure of this name; `--help` has the list.
    pub(crate) fn figure(&self, name: &str) -> Result<Figure, RecordError> {
        let (kind, subject) = name.split_once(' ').unwrap_or((name, ""));
        let record = match kind {
            "count" | "worst" | "slack" => Record::Counts,
            kind if kind.starts_with("counts-") => Record::Counts,
            "latency" | "latency-record" => Record::Latency,
            kind if kind.starts_with("native-") => Record::Native,
            kind if kind.starts_with("io-") => Record::Io,
            _ => return Err(RecordError::Unknown(name.to_owned())),
        };
        let missing = RecordError::NoRecord(record);
        let found = match record {
            Record::Counts => counts::figure(self.counts.as_ref().ok_or(missing)?, kind, subject),
            Record::Latency => latency::figure(self.latency.as_ref().ok_or(missing)?, kind),
            Record::Native => native::figure(self.native.as_ref().ok_or(missing)?, kind),
            Record::Io => io::figure(self.io.as_ref().ok_or(missing)?, kind, subject),
        };
        match found {
            Some(Some(figure)) => Ok(figure),
            Some(None) => Err(RecordError::Missing {
                name: name.to_owned(),
                record,
            }),
            None => Err(RecordError::Unknown(name.to_owned())),
        }
    }
}
