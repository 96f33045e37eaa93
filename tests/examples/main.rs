//! Every public item of the library has an example, and that example is run: on the host by
//! `cargo test`, or as a guest by `cargo vm test`. (Those of Hyperlight guests are compiled by the latter.)
//!
//! Rustdoc says which items there are, and what their documentation is. (Its own lint for this passes
//! over whatever is re-exported from a private module, and wants examples of `impl` blocks.) What counts
//! are functions, methods, macros, types and traits. Constants, variants, fields and modules need none,
//! nor do a trait's methods that the trait's own example defines.

mod items;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use assert_cmd::Command;
use dormir_harness::{
    toolchain::{GuestToolchain, TARGET},
    workspace::Workspace,
};
use items::{Example, Item};
use serde_json::Value;

/// How long rustdoc may take, the build of what the library depends on included.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Examples that are compiled and not run, each with the reason.
const NOT_RUN: &[(&str, &str)] = &[(
    "dormir::executor::Runner::run_forever",
    "it does not return",
)];

/// Where items are whose examples are compiled for guests and not run: they are parts of Hyperlight guests, and
/// call a host. What they show the cases of `tests/vm/hyperlight.rs` run.
const HYPERLIGHT: &str = "::hyperlight::";

/// The library's public items, by path, as rustdoc shows them for the host or for guests.
fn documented(guest: bool) -> BTreeMap<String, Item> {
    let workspace = Workspace::locate().expect("the sources are there");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("documented");
    let (mut command, folder) = if guest {
        let toolchain = GuestToolchain::detect(&workspace).expect("guests can be built");
        (toolchain.command(), target.join(TARGET).join("doc"))
    } else {
        (
            std::process::Command::new(env!("CARGO")),
            target.join("doc"),
        )
    };
    command
        // The release compiler refuses to write JSON without it.
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["rustdoc", "--locked", "--quiet", "--lib", "--all-features"])
        .args(["--package", "dormir"])
        .args(guest.then_some(["--target", TARGET]).into_iter().flatten())
        .arg("--target-dir")
        .arg(&target)
        .args(["--", "-Zunstable-options", "--output-format=json"])
        .current_dir(workspace.root());
    Command::from_std(command).timeout(LIMIT).assert().success();
    let json = fs::read_to_string(folder.join("dormir.json")).expect("rustdoc has written it");
    let json: Value = serde_json::from_str(&json).expect("it is JSON");
    items::public(&json)
}

/// Fails with all that is wrong at once.
#[track_caller]
fn assert_none(complaint: &str, items: &BTreeSet<String>) {
    let lines = Vec::from_iter(items.iter().map(String::as_str)).join("\n  ");
    assert!(items.is_empty(), "{complaint}:\n  {lines}\n");
}

fn line(path: &str, item: &Item) -> String {
    format!("{path} ({}:{})", item.file, item.line)
}

#[test]
fn every_public_item_has_an_example_that_is_run() {
    let (host, guest) = (documented(false), documented(true));
    // What rustdoc writes may change: none of these is missed.
    for (items, path) in [
        (&host, "dormir::event::Event"),
        (&host, "dormir::event::Event::signal"),
        (&host, "dormir::block_on"),
        (&host, "dormir::task"),
        (&host, "dormir::executor::Spawner::spawn"),
        (&host, "dormir::executor::trace::Trace"),
        (&host, "dormir::idle::Idle::wait"),
        (&host, "dormir::platform::host::Skip"),
        (&guest, "dormir::arch::x86_64::apic::Apic::start_count"),
        (&guest, "dormir::interrupt_entry"),
        (&guest, "dormir::platform::bare::TimerSource"),
        (&guest, "dormir::platform::hyperlight::block_on"),
    ] {
        assert!(items.contains_key(path), "{path} is missed");
    }

    let mut without = BTreeSet::new();
    let mut not_run = BTreeSet::new();
    let mut not_guests = BTreeSet::new();
    let mut beside_guests = BTreeSet::new();
    let all = || host.iter().chain(&guest);
    let guests = all().filter(|(_, item)| item.examples.iter().any(Example::is_guest));
    let files_with_guests: BTreeSet<_> = guests.map(|(_, item)| &item.file).collect();
    for (path, item) in all() {
        if item.examples.is_empty() && !item.is_shown_by_its_trait {
            without.insert(line(path, item));
        }
        let is_hyperlight = path.contains(HYPERLIGHT);
        let may_rest = is_hyperlight || NOT_RUN.iter().any(|(exempt, _)| exempt == path);
        if !may_rest && item.examples.iter().any(|example| !example.is_run) {
            not_run.insert(line(path, item));
        }
        let needs_machine = !host.contains_key(path) && !is_hyperlight;
        if !item.examples.iter().all(Example::is_guest) {
            if needs_machine {
                not_guests.insert(line(path, item));
            } else if files_with_guests.contains(&item.file) {
                beside_guests.insert(line(path, item));
            }
        }
    }
    assert_none("public items without an example", &without);
    assert_none("examples that are not run, for no known reason", &not_run);
    assert_none(
        "examples that need a machine and are no guests",
        &not_guests,
    );
    // They are run by the file.
    assert_none(
        "examples that are no guests, in a file with some that are",
        &beside_guests,
    );
    for (path, _) in NOT_RUN {
        let item = host.get(*path).or_else(|| guest.get(*path));
        assert!(
            item.is_some_and(|item| item.examples.iter().any(|example| !example.is_run)),
            "{path} needs no exemption"
        );
    }
}
