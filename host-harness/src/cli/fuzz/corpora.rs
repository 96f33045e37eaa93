//! A target's inputs: those in the checkout, and those that runs have added.

use super::{note, tools::ToolError};
use crate::{
    process::{self, Keep, Scope},
    stop::StopToken,
    workspace::Workspace,
};
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// The time limit of a merge.
const LIMIT: Duration = Duration::from_secs(3600);

/// The folders of a target's inputs.
#[derive(Debug)]
pub(super) struct Corpora {
    /// Those in the checkout, which tests replay.
    pub(super) committed: PathBuf,
    /// Those that runs have added.
    pub(super) grown: PathBuf,
    /// Those that break the target.
    pub(super) findings: PathBuf,
}

/// What became of the inputs that cover more.
#[derive(Debug)]
pub(super) struct Kept {
    added: usize,
    left: usize,
    bytes: u64,
}

impl Corpora {
    /// Makes the folders that do not exist yet.
    pub(super) fn of(workspace: &Workspace, name: &str) -> io::Result<Self> {
        let grown = workspace.fuzz_target().join("corpus").join(name);
        let findings = workspace.fuzz_target().join("findings").join(name);
        let corpora = Self {
            committed: workspace.root().join("host-harness/fuzz/corpus").join(name),
            grown,
            findings,
        };
        for folder in [&corpora.committed, &corpora.grown, &corpora.findings] {
            fs::create_dir_all(folder)?;
        }
        Ok(corpora)
    }

    /// Returns whether an input of this name is tried in each run.
    pub(super) fn has(&self, input: &str) -> bool {
        let folders = [&self.committed, &self.findings];
        folders.iter().any(|folder| folder.join(input).exists())
    }

    /// Adds the inputs that cover more than those in the checkout to them: the smallest first,
    /// while all of them have fewer bytes than `limit`.
    pub(super) fn keep(
        &self,
        program: &Path,
        limit: u64,
        stop: &StopToken,
    ) -> Result<Kept, Box<dyn std::error::Error>> {
        let merged = tempfile::tempdir_in(&self.findings)?;
        let mut bytes = 0;
        for (file, size) in files(&self.committed)? {
            let name = file.file_name().unwrap_or_default();
            fs::copy(&file, merged.path().join(name))?;
            bytes += size;
        }
        let mut command = Command::new(program);
        command
            .arg("-merge=1")
            .args([merged.path(), &self.grown])
            .env("ASAN_OPTIONS", "detect_odr_violation=0");
        let done = process::capture(&mut command, Keep::Both, Scope::Group, LIMIT, stop)?;
        if !done.status.success() {
            for line in done.output.lines() {
                note(format_args!("  {line}"));
            }
            return Err(ToolError::Failed(format!("{} -merge=1", program.display())).into());
        }
        let mut new = files(merged.path())?;
        new.retain(|(file, _)| {
            let name = file.file_name().unwrap_or_default();
            !self.committed.join(name).exists()
        });
        new.sort_by_key(|(_, size)| *size);
        let mut kept = Kept {
            added: 0,
            left: new.len(),
            bytes,
        };
        for (file, size) in new {
            if kept.bytes + size >= limit {
                break;
            }
            let name = file.file_name().unwrap_or_default();
            fs::copy(&file, self.committed.join(name))?;
            kept.added += 1;
            kept.left -= 1;
            kept.bytes += size;
        }
        Ok(kept)
    }
}

/// The files of a folder, with their sizes in bytes.
fn files(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let data = entry.metadata()?;
        if data.is_file() {
            files.push((entry.path(), data.len()));
        }
    }
    Ok(files)
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { added, left, bytes } = self;
        write!(
            f,
            "{added} inputs added to the checkout's, which have {bytes} bytes now; {left} that \
             cover more are too large"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_smallest_that_cover_more_are_kept_below_the_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &[u8]| {
            let file = at(name);
            fs::create_dir_all(file.parent().expect("a folder")).expect("it is made");
            fs::write(file, text).expect("it is written");
        };
        write("guest-image/Cargo.toml", b"");
        let workspace = Workspace::at(folder.path()).expect("it has guests");
        let corpora = Corpora::of(&workspace, "target").expect("folders are made");
        for (name, size) in [("grown-30", 30), ("grown-100", 100), ("grown-20", 20)] {
            write(&format!("target/fuzz/corpus/target/{name}"), &vec![1; size]);
        }
        write("host-harness/fuzz/corpus/target/old", &[1; 10]);
        // In place of a fuzzer: whatever has grown covers more.
        write(
            "program",
            b"#!/bin/sh\n[ $1 = -merge=1 ] && cp \"$3\"/* \"$2\"\n",
        );
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(at("program"), executable).expect("it is ours");
        let keep = || {
            let kept = corpora.keep(&at("program"), 70, &StopToken::default());
            let Kept { added, left, bytes } = kept.expect("it is merged");
            (added, left, bytes)
        };
        assert_eq!(keep(), (2, 1, 60));
        let mut names: Vec<_> = files(&corpora.committed)
            .expect("a folder")
            .iter()
            .map(|(file, _)| file.file_name().unwrap_or_default().to_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["grown-20", "grown-30", "old"]);
        assert_eq!(keep(), (0, 1, 60));
        assert_eq!(files(&corpora.findings).expect("a folder").len(), 0);
    }
}
