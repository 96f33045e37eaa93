//! README and the other pages: links lead somewhere, files that they name exist, `cargo vm` takes
//! the commands that they show, Rust blocks are compiled, and what they tell of the manifests is
//! true.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::support::{cargo_vm, outcome};

/// How long a build may take.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// One page: its path from the top folder, and its text.
struct Page {
    path: PathBuf,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The pages in the top folder and in `docs`.
fn pages() -> Vec<Page> {
    let root = root();
    let mut pages = Vec::new();
    for folder in ["", "docs"] {
        for entry in fs::read_dir(root.join(folder)).expect("a folder").flatten() {
            let path = Path::new(folder).join(entry.file_name());
            if path.extension().is_some_and(|kind| kind == "md") {
                let text = fs::read_to_string(entry.path()).expect("a page");
                pages.push(Page { path, text });
            }
        }
    }
    assert!(pages.len() > 8, "the pages are found");
    pages
}

/// The blocks of a text, each as its language and its lines, and the text around them.
fn blocks(text: &str) -> (Vec<(&str, Vec<&str>)>, String) {
    let (mut blocks, mut around) = (Vec::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let block = lines.by_ref().map(str::trim_start);
            blocks.push((language, block.take_while(|line| *line != "```").collect()));
        } else {
            around += line;
            around.push('\n');
        }
    }
    (blocks, around)
}

/// What stands in backquotes, on one line each.
fn spans(around: &str) -> Vec<String> {
    let spans = around.split('`').skip(1).step_by(2);
    spans
        .map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// The anchor that a heading has on the forge.
fn anchor(heading: &str) -> String {
    let kept = heading
        .trim()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| {
        if c == ' ' {
            '-'
        } else {
            c.to_ascii_lowercase()
        }
    })
    .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = BTreeSet::new();
    for page in pages() {
        let (_, around) = blocks(&page.text);
        for link in around.split("](").skip(1) {
            let link = link.split(')').next().unwrap_or_default();
            if link.starts_with("http") {
                continue;
            }
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let path = match file {
                "" => root().join(&page.path),
                file => root().join(&page.path).with_file_name("").join(file),
            };
            let text = fs::read_to_string(&path).unwrap_or_default();
            let mut headings = text.lines().filter(|line| line.starts_with('#'));
            let is_there = path.exists()
                && (fragment.is_empty()
                    || headings.any(|line| anchor(line.trim_start_matches('#')) == fragment));
            if !is_there {
                wrong.insert(format!("{}: {link}", page.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere: {wrong:#?}");
}

/// The paths of all files and folders below `folder`, but for what is built.
fn paths(folder: &Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let name = entry.file_name();
        if name == "target" || name == ".git" {
            continue;
        }
        into.push(format!("/{}", entry.path().display()));
        if entry.path().is_dir() {
            paths(&entry.path(), into);
        }
    }
}

#[test]
fn files_that_are_named_exist() {
    let mut all = Vec::new();
    paths(&root(), &mut all);
    let mut wrong = BTreeSet::new();
    // Not the changelog: files of older versions may be gone.
    for page in pages()
        .iter()
        .filter(|page| page.path != Path::new("CHANGELOG.md"))
    {
        for span in spans(&blocks(&page.text).1) {
            let is_path = span.ends_with('/')
                || [".rs", ".md", ".toml", ".json", ".js", ".svg", ".ld"]
                    .iter()
                    .any(|ending| span.ends_with(ending) && span.len() > ending.len());
            let is_plain =
                !span.starts_with(['/', '.', '-']) && !span.contains([' ', '*', '{', ':']);
            let suffix = format!("/{}", span.trim_end_matches('/'));
            if is_path && is_plain && !all.iter().any(|path| path.ends_with(&suffix)) {
                wrong.insert(format!("{}: {span}", page.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "files that do not exist: {wrong:#?}");
}

#[test]
fn the_command_takes_what_the_pages_show() {
    let mut commands = BTreeSet::new();
    for page in pages() {
        let (blocks, around) = blocks(&page.text);
        let shell = blocks.into_iter().filter(|(language, _)| *language == "sh");
        let lines = shell.flat_map(|(_, lines)| lines).map(str::to_owned);
        for line in lines.chain(spans(&around)) {
            // What follows is a guest's, cargo's, or for the reader.
            let ends = [" -- ", " #", " | "]
                .iter()
                .filter_map(|end| line.find(end));
            let line = &line[..ends.min().unwrap_or(line.len())];
            if let Some(command) = line.trim().strip_prefix("cargo vm ") {
                commands.insert(command.trim().to_owned());
            }
        }
    }
    assert!(commands.len() > 15, "the commands are found: {commands:?}");
    for command in commands {
        let words = command.split_whitespace().filter(|word| *word != "--help");
        let mut command_line = cargo_vm();
        // For `bench`, which builds the program that has these options.
        command_line.timeout(BUILD_LIMIT).args(words).arg("--help");
        let (code, _, error) = outcome(&mut command_line);
        // A sentence may name an option without its value.
        let is_taken = code == Some(0) || error.contains("a value is required");
        assert!(is_taken, "cargo vm {command}: {error}");
    }
}

/// Those of README, docs/guests.md and docs/debugging.md are booted as guests, by the library's
/// module `pages`; those of docs/hyperlight.md are run by the test `page-naps` in VMs, and those of
/// docs/host-calls.md by `tests/outside` and by the test `host-calls:page` in VMs. Those of
/// docs/guest-tests.md are parts of the guest `tested`. Those of docs/io.md are the guests
/// `hello-serial`, `store-key`, `hello-console`, `hello-net` and `hello-vsock`, which the tests
/// `input:page`, `devices:page`, `devices:console-page`, `net:page` and `vsock:page` boot in VMs.
#[test]
fn every_rust_block_is_compiled() {
    let taken = fs::read_to_string(root().join("src/pages.rs")).expect("the module");
    let files = [
        "tested/tests/passing.rs",
        "tested/src/lib.rs",
        "devices/src/bin/hello-console.rs",
        "devices/src/bin/hello-vsock.rs",
        "devices/src/bin/store-key.rs",
        "http/src/bin/hello-net.rs",
        "shell/src/bin/hello-serial.rs",
    ];
    let tested = files.map(|file| {
        let path = root().join("guest-image").join(file);
        let source = fs::read_to_string(path).expect("a source");
        Vec::from_iter(source.lines().map(str::trim)).join("\n")
    });
    for page in pages() {
        let (blocks, _) = blocks(&page.text);
        let is_rust = |language: &str| language.starts_with("rust");
        let rust = blocks.iter().filter(|(language, _)| is_rust(language));
        for (language, lines) in rust {
            let name = page.path.display().to_string();
            let is_guest = taken.contains(&format!("\"../{name}\""))
                && lines
                    .iter()
                    .any(|line| line.starts_with("entry!(") || *line == "#[dormir_guest::main]");
            let is_tested = tested
                .iter()
                .any(|source| source.contains(&lines.join("\n")));
            let is_pair = ["docs/hyperlight.md", "docs/host-calls.md"].contains(&name.as_str());
            let is_compiled = *language == "rust" && (is_guest || is_tested || is_pair);
            assert!(is_compiled, "{name} has a block that is not: {lines:#?}");
        }
    }
}

/// The text of every manifest.
fn manifests() -> Vec<String> {
    let mut all = Vec::new();
    paths(&root(), &mut all);
    let manifests = all.iter().filter(|path| path.ends_with("/Cargo.toml"));
    manifests
        .map(|path| fs::read_to_string(&path[1..]).expect("a manifest"))
        .collect()
}

#[test]
fn every_dependency_has_its_reason() {
    let page = fs::read_to_string(root().join("docs/dependencies.md")).expect("the page");
    let (reasons, tables) = page
        .split_once("<!-- dependencies -->")
        .expect("both parts");
    let mut names = BTreeSet::new();
    for manifest in manifests() {
        let mut is_among = false;
        for line in manifest.lines() {
            if line.starts_with('[') {
                is_among = line.contains("dependencies");
            } else if let Some((name, _)) = line.split_once(" = ")
                && is_among
                && !name.starts_with("dormir")
            {
                names.insert(name.to_owned());
            }
        }
    }
    let is_without = |name: &&String| !reasons.contains(&format!("`{name}`"));
    let without: Vec<_> = names.iter().filter(is_without).collect();
    let rows = tables
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let rows = rows.filter(|name| !name.starts_with("dormir"));
    let rows: BTreeSet<String> = rows.map(str::to_owned).collect();
    let (missing, extra) = (names.difference(&rows), rows.difference(&names));
    let differing: Vec<_> = missing.chain(extra).collect();
    assert!(
        differing.is_empty(),
        "the table is not of these manifests ({differing:?}): run `cargo vm dependencies`"
    );
    assert!(
        without.is_empty(),
        "dependencies without a reason: {without:?}"
    );
}

#[test]
fn every_package_names_the_repository() {
    for manifest in manifests().iter().filter(|text| text.contains("[package]")) {
        assert!(
            manifest.contains("\nrepository.workspace = true\n"),
            "one does not: {manifest}"
        );
    }
}

/// One minimum Rust version, in every manifest and in the README.
#[test]
fn the_minimum_rust_version_is_the_same_everywhere() {
    let mut versions = BTreeSet::new();
    for manifest in manifests() {
        let lines = manifest.lines();
        let version = lines.filter_map(|line| line.strip_prefix("rust-version = "));
        versions.extend(version.map(|version| version.trim_matches('"').to_owned()));
    }
    let versions = Vec::from_iter(versions);
    let [version] = versions.as_slice() else {
        panic!("several versions: {versions:?}");
    };
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    let readme = readme.split_whitespace().collect::<Vec<_>>().join(" ");
    let sentence = format!("The minimum Rust version is {version};");
    assert!(readme.contains(&sentence), "the README lacks `{sentence}`");
}
