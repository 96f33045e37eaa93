//! Records of what a run found, in `docs/records`, and their tables in `docs/testing.md`.

#[cfg(test)]
mod tests;

use super::note;
use crate::workspace::Workspace;
use serde_json::{Value, json};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

/// The folder of the records in a checkout.
const FOLDER: &str = "docs/records";

/// The page with their tables.
const PAGE: &str = "docs/testing.md";

/// Names of records of promises begin with it.
pub(super) const PROMISE: &str = "promise-";

/// A table of the page, which stands between two comments.
struct Place {
    opens: &'static str,
    closes: &'static str,
    /// The records that it has, by the beginning of their names.
    is_of_promises: bool,
}

const PLACES: [Place; 2] = [
    Place {
        opens: "<!-- promises -->\n",
        closes: "<!-- /promises -->",
        is_of_promises: true,
    },
    Place {
        opens: "<!-- records -->\n",
        closes: "<!-- /records -->",
        is_of_promises: false,
    },
];

/// Whether a run is recorded.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Recording {
    /// Writes what the run found to docs/records, and into the table of docs/testing.md
    #[arg(long)]
    record: bool,
}

/// A run that ended by itself.
#[derive(Debug)]
pub(super) struct Run {
    /// The check, as a file's name.
    pub(super) name: String,
    /// What the check shows: a sentence.
    pub(super) claim: &'static str,
    /// The command line that repeats it.
    pub(super) command: String,
    pub(super) took: Duration,
    /// `None` if it is not done yet: the next run goes on.
    pub(super) passed: Option<bool>,
    /// What this run found: a short sentence, with its figures.
    pub(super) result: String,
    /// All figures. The next run finds them again by [`read`].
    pub(super) details: Value,
}

/// A record cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error(
        "{} cannot be {what} ({reason}): see whether the checkout is whole and writable",
        file.display()
    )]
    File {
        file: PathBuf,
        what: &'static str,
        reason: io::Error,
    },
    #[error("{} is no record ({reason}): take back what was changed by hand", file.display())]
    Layout { file: PathBuf, reason: String },
    #[error("{PAGE} has no place for the records: put `{}` and `{closes}` there", opens.trim_end())]
    NoPlace {
        opens: &'static str,
        closes: &'static str,
    },
}

impl Recording {
    pub(super) fn is_wanted(self) -> bool {
        self.record
    }

    /// Writes the record of a run, if that was asked for, with date, machine and commit.
    pub(super) fn write(self, workspace: &Workspace, run: &Run) -> Result<(), RecordError> {
        self.put(workspace, run, None)
    }

    /// Writes what is known after a run that tried nothing, if that was asked for. What has been
    /// tried was so when, where and on what the last record says.
    pub(super) fn amend(self, workspace: &Workspace, run: &Run) -> Result<(), RecordError> {
        let file = file(workspace, &run.name);
        let last = if self.record && file.exists() {
            note(format_args!(
                "nothing was tried: the record keeps its date, machine and commit"
            ));
            Some(parse(&file)?)
        } else {
            None
        };
        self.put(workspace, run, last)
    }

    /// Writes a record: of this moment, or of that of the last one.
    fn put(self, workspace: &Workspace, run: &Run, last: Option<Value>) -> Result<(), RecordError> {
        if !self.record {
            return Ok(());
        }
        let mut record = last.unwrap_or_else(|| {
            json!({
                "date": humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
                "machine": machine(),
                "commit": commit(workspace),
                "seconds": run.took.as_secs(),
            })
        });
        record["claim"] = run.claim.into();
        record["command"] = run.command.as_str().into();
        record["passed"] = run.passed.into();
        record["result"] = run.result.as_str().into();
        record["details"] = run.details.clone();
        let file = file(workspace, &run.name);
        let failed = |reason| RecordError::File {
            file: file.clone(),
            what: "written",
            reason,
        };
        fs::create_dir_all(workspace.root().join(FOLDER)).map_err(failed)?;
        replace(&file, &format!("{record:#}\n")).map_err(failed)?;
        put_into_page(workspace)
    }
}

fn file(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.root().join(FOLDER).join(format!("{name}.json"))
}

/// Reads the details of the last record of this name, if there is one.
pub(super) fn read(workspace: &Workspace, name: &str) -> Result<Option<Value>, RecordError> {
    let file = file(workspace, name);
    if !file.exists() {
        return Ok(None);
    }
    let mut record = parse(&file)?;
    Ok(Some(record["details"].take()))
}

fn parse(file: &Path) -> Result<Value, RecordError> {
    let text = fs::read_to_string(file).map_err(|reason| RecordError::File {
        file: file.to_owned(),
        what: "read",
        reason,
    })?;
    serde_json::from_str(&text).map_err(|error| RecordError::Layout {
        file: file.to_owned(),
        reason: error.to_string(),
    })
}

/// Puts the table of all records into the page.
fn put_into_page(workspace: &Workspace) -> Result<(), RecordError> {
    let file = workspace.root().join(PAGE);
    let failed = |what| {
        let file = file.clone();
        move |reason| RecordError::File { file, what, reason }
    };
    let page = fs::read_to_string(&file).map_err(failed("read"))?;
    replace(&file, &with_tables(page, workspace)?).map_err(failed("written"))
}

/// The page with the tables of all records.
fn with_tables(mut page: String, workspace: &Workspace) -> Result<String, RecordError> {
    for place in &PLACES {
        let table = table(workspace, place)?;
        page = spliced(&page, &table, place).ok_or(RecordError::NoPlace {
            opens: place.opens,
            closes: place.closes,
        })?;
    }
    Ok(page)
}

/// The page with this table.
fn spliced(page: &str, table: &str, place: &Place) -> Option<String> {
    let (before, rest) = page.split_once(place.opens)?;
    let (_, after) = rest.split_once(place.closes)?;
    Some([before, place.opens, table, place.closes, after].concat())
}

/// The records of this place as a table, by name.
fn table(workspace: &Workspace, place: &Place) -> Result<String, RecordError> {
    let folder = workspace.root().join(FOLDER);
    let failed = |reason| RecordError::File {
        file: folder.clone(),
        what: "read",
        reason,
    };
    let mut files = Vec::new();
    if folder.exists() {
        for entry in fs::read_dir(&folder).map_err(failed)? {
            files.push(entry.map_err(failed)?.path());
        }
    }
    files.retain(|file| file.extension().is_some_and(|kind| kind == "json"));
    let is_of_promise = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(PROMISE.as_bytes())
    };
    files.retain(|file| is_of_promise(file) == place.is_of_promises);
    files.sort();
    let mut table = "| what it shows | command | took | when, and what it found |\n\
                     | --- | --- | --- | --- |\n"
        .to_owned();
    for file in files {
        let record = parse(&file)?;
        let row = row(&record).ok_or_else(|| RecordError::Layout {
            file: file.clone(),
            reason: "a member is missing".into(),
        })?;
        table += &row;
    }
    Ok(table)
}

fn row(record: &Value) -> Option<String> {
    let text = |name: &str| record[name].as_str();
    // A guest's words may be in it.
    let result = text("result")?.replace('|', r"\|").replace('<', "&lt;");
    let result = Vec::from_iter(result.split_whitespace()).join(" ");
    let took = match record["seconds"].as_u64()? {
        seconds @ ..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    };
    let day = text("date")?.get(..10)?;
    let verdict = match &record["passed"] {
        Value::Bool(true) => "passed",
        Value::Bool(false) => "failed",
        Value::Null => "so far",
        _ => return None,
    };
    Some(format!(
        "| {} | `{}` | {took} | {day}, {verdict}: {result} |\n",
        text("claim")?,
        text("command")?,
    ))
}

/// Writes a file as a whole.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let new = tempfile::Builder::new()
        .prefix(".record-")
        .tempfile_in(folder)?;
    fs::write(new.path(), text)?;
    let permissions = match fs::metadata(file) {
        Ok(found) => found.permissions(),
        Err(_) => fs::Permissions::from_mode(0o644),
    };
    fs::set_permissions(new.path(), permissions)?;
    new.persist(file)?;
    Ok(())
}

/// The processor, how many there are, and the kernel.
fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut lines = information.lines();
    let name = lines.find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let name = name.map_or("an unknown processor", |(_, name)| name);
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    format!("{name}, {processors} of them, Linux {release}")
}

/// The commit that is checked out, if git knows one, and whether something was changed since, but
/// for records.
fn commit(workspace: &Workspace) -> Option<String> {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(arguments).current_dir(workspace.root()).output()
    };
    let output = git(&["rev-parse", "--short=12", "HEAD"]).ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    output.status.success().then_some(())?;
    let [page, folder] = [PAGE, FOLDER].map(|path| format!(":(exclude){path}"));
    let changes = git(&[
        "status",
        "--porcelain",
        "--untracked-files=normal",
        "--",
        ".",
        &page,
        &folder,
    ])
    .ok()?;
    let dirty = if changes.status.success() && changes.stdout.is_empty() {
        ""
    } else {
        "-dirty"
    };
    Some(format!("{}{dirty}", commit.trim()))
}
