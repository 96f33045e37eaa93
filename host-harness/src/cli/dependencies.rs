//! `cargo vm dependencies`: who keeps each dependency, whether it is kept, and how much of it is
//! unsafe.

mod releases;
mod unsafe_lines;

use super::{Ended, FAILURE, complain, note};
use crate::{
    host_cargo::cargo,
    process::{self, Keep, ProcessError, Scope},
    stop::StopToken,
    workspace::Workspace,
};
use cargo_metadata::{Metadata, Package};
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt::Write,
    fs,
    time::{Duration, SystemTime},
};
use unsafe_lines::Count;

/// Writes the tables of docs/dependencies.md anew
///
/// For each direct dependency of each workspace: who keeps its repository, by its manifest; how
/// many releases it has, which was the last and when, by cargo's index of the registry, which is
/// updated first; and how many of its lines are unsafe. The last also for the packages of this
/// checkout. Cargo downloads what they are made of; all takes some minutes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

const PAGE: &str = "docs/dependencies.md";
const OPENS: &str = "<!-- dependencies -->\n";
const CLOSES: &str = "<!-- /dependencies -->";

/// The folders of the workspaces.
const WORKSPACES: [&str; 7] = [
    "",
    "guest-image",
    "guest-image/hyperlight",
    "host-harness/hyperlight",
    "host-harness/fuzz",
    "host-harness/peers",
    "host-harness/peers/sources",
];

/// The time limit of each command of cargo.
const LIMIT: Duration = Duration::from_secs(600);

/// A direct dependency.
struct Dependency {
    versions: BTreeSet<String>,
    keeper: String,
    /// The most of its versions.
    unsafe_lines: Count,
}

pub(super) fn run(_arguments: &Arguments, stop: &StopToken) -> Ended {
    let workspace = Workspace::locate()?;
    let page = workspace.root().join(PAGE);
    let text = fs::read_to_string(&page)?;
    let (Some((before, _)), Some((_, after))) = (text.split_once(OPENS), text.split_once(CLOSES))
    else {
        complain(format_args!(
            "{PAGE} has no place for the tables: put `{}` and `{CLOSES}` there",
            OPENS.trim_end()
        ));
        return Ok(FAILURE);
    };
    let (mut others, mut own) = (BTreeMap::new(), BTreeMap::new());
    for (index, folder) in WORKSPACES.iter().enumerate() {
        note(format_args!(
            "reading {} of {}: {}",
            index + 1,
            WORKSPACES.len(),
            workspace.root().join(folder).display()
        ));
        let metadata = metadata(&workspace, folder, stop)?;
        gather(&metadata, &mut others, &mut own, stop)?;
    }
    let tables = tables(&others, &own)?;
    fs::write(&page, [before, OPENS, &tables, CLOSES, after].concat())?;
    note(format_args!("{} dependencies are in {PAGE}", others.len()));
    Ok(0)
}

/// What cargo knows of a workspace, after an update of its index.
fn metadata(
    workspace: &Workspace,
    folder: &str,
    stop: &StopToken,
) -> Result<Metadata, Box<dyn Error>> {
    let manifest = workspace.root().join(folder).join("Cargo.toml");
    let run = |verb: &str, words: &[&str], keep| {
        let mut command = cargo(workspace, verb);
        command.args(words).arg("--manifest-path").arg(&manifest);
        process::capture(&mut command, keep, Scope::Group, LIMIT, stop)
    };
    // Not by `cargo`, which says `--locked`: then there would be nothing to look up.
    let mut update = std::process::Command::new("cargo");
    update
        .args(["update", "--dry-run", "--quiet", "--manifest-path"])
        .arg(&manifest);
    let updated = process::capture(&mut update, Keep::Stdout, Scope::Group, LIMIT, stop)?;
    if !updated.status.success() {
        return Err("cargo cannot update its index: see what `cargo update --dry-run` says".into());
    }
    let found = run(
        "metadata",
        &["--format-version=1", "--all-features"],
        Keep::StdoutOnly,
    )?;
    if !found.status.success() {
        return Err("cargo cannot read a workspace: its messages are above".into());
    }
    Ok(cargo_metadata::MetadataCommand::parse(found.output)?)
}

/// Adds the workspace's packages, and what they depend on directly.
fn gather(
    metadata: &Metadata,
    others: &mut BTreeMap<String, Dependency>,
    own: &mut BTreeMap<String, Count>,
    stop: &StopToken,
) -> Result<(), Box<dyn Error>> {
    let resolve = metadata.resolve.as_ref().ok_or("cargo resolved nothing")?;
    let mut direct = BTreeSet::new();
    for node in &resolve.nodes {
        if metadata[&node.id].source.is_none() {
            direct.insert(&node.id);
            direct.extend(node.deps.iter().map(|dependency| &dependency.pkg));
        }
    }
    for package in direct.into_iter().map(|id| &metadata[id]) {
        if stop.is_stopped() {
            return Err(ProcessError::Stopped.into());
        }
        let name = package.name.to_string();
        let folder = package.manifest_path.parent().ok_or("no folder")?;
        let is_own = package.source.is_none();
        if is_own && own.contains_key(&name) {
            continue;
        }
        let lines = unsafe_lines::in_folder(folder.as_std_path())?;
        if is_own {
            own.insert(name, lines);
            continue;
        }
        let dependency = others.entry(name).or_insert_with(|| Dependency {
            versions: BTreeSet::new(),
            keeper: keeper(package),
            unsafe_lines: Count::default(),
        });
        dependency.versions.insert(package.version.to_string());
        dependency.unsafe_lines = dependency.unsafe_lines.most(lines);
    }
    Ok(())
}

/// Who has the repository: the first part of its path, and else the first author.
fn keeper(package: &Package) -> String {
    let repository = package.repository.as_deref().unwrap_or_default();
    let path = repository.split_once("://").map_or("", |(_, rest)| rest);
    let keeper = path.split('/').nth(1).filter(|part| !part.is_empty());
    let author = || package.authors.first().map_or("not said", |author| author);
    keeper.unwrap_or_else(author).to_owned()
}

fn tables(
    others: &BTreeMap<String, Dependency>,
    own: &BTreeMap<String, Count>,
) -> Result<String, Box<dyn Error>> {
    let today = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let today = today.get(..10).unwrap_or_default();
    let mut text = format!(
        "Looked up on {today}.\n\n\
         | crate | here | kept by | latest release, by date | releases | unsafe lines |\n\
         | --- | --- | --- | --- | ---: | ---: |\n"
    );
    for (name, dependency) in others {
        let versions = Vec::from_iter(dependency.versions.iter().map(String::as_str)).join(", ");
        let (newest, count) = releases::of(name)?;
        writeln!(
            text,
            "| `{name}` | {versions} | {} | {newest} | {count} | {} |",
            dependency.keeper, dependency.unsafe_lines
        )?;
    }
    text += "\n| package of this checkout | unsafe lines |\n| --- | ---: |\n";
    for (name, lines) in own {
        writeln!(text, "| `{name}` | {lines} |")?;
    }
    Ok(text)
}
