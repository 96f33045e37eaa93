//! Each public type, trait, macro and module-level function of the library has an example, and each
//! example runs: on the host by `cargo test`, or as a guest by `cargo vm test`. (The latter
//! compiles those of guests that call a host, and does not run them.)
//!
//! Rustdoc lists the items and their documentation as JSON. (Its own lint passes over items that
//! are re-exported from a private module, and asks for examples of `impl` blocks.) Methods,
//! constants, variants, fields and modules need no example; one that is there must run too.

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

/// The time limit of rustdoc, with the build of the library's dependencies.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// The folders of items whose examples are compiled for guests and not run: they are parts of
/// guests that call a host. The cases in `tests/vm/hyperlight.rs` and `tests/vm/host_calls.rs` run
/// the same calls.
const WITH_HOST: [&str; 2] = ["src/platform/hyperlight/", "src/host_calls/"];

/// The library's public items, by path, as rustdoc lists them for the host or for guests.
fn documented(guest: bool) -> BTreeMap<String, Item> {
    let workspace = Workspace::locate().expect("the test runs in a checkout");
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
        // A stable compiler writes JSON only with this.
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["rustdoc", "--locked", "--quiet", "--lib", "--all-features"])
        .args(["--package", "dormir"])
        .args(guest.then_some(["--target", TARGET]).into_iter().flatten())
        .arg("--target-dir")
        .arg(&target)
        .args(["--", "-Zunstable-options", "--output-format=json"])
        .current_dir(workspace.root());
    Command::from_std(command).timeout(LIMIT).assert().success();
    let json = fs::read_to_string(folder.join("dormir.json")).expect("rustdoc wrote a file");
    let json: Value = serde_json::from_str(&json).expect("rustdoc wrote JSON");
    items::public(&json)
}

/// Fails if there are any `items`, and lists them all.
#[track_caller]
fn assert_none(problem: &str, items: &BTreeSet<String>) {
    let lines = Vec::from_iter(items.iter().map(String::as_str)).join("\n  ");
    assert!(items.is_empty(), "{problem}:\n  {lines}\n");
}

fn line(path: &str, item: &Item) -> String {
    format!("{path} ({}:{})", item.file, item.line)
}

#[test]
fn public_items_have_examples_and_every_example_runs() {
    let (host, guest) = (documented(false), documented(true));
    // The format of rustdoc's JSON may change: these items must be in it.
    for (items, path) in [
        (&host, "dormir::event::Event"),
        (&host, "dormir::event::Event::signal"),
        (&host, "dormir::block_on"),
        (&host, "dormir::tasks"),
        (&host, "dormir::executor::Spawner::spawn"),
        (&host, "dormir::executor::trace::Trace"),
        (&host, "dormir::idle::Idle::wait"),
        (&host, "dormir::platform::host::Skip"),
        (&guest, "dormir::arch::x86_64::apic::Apic::start_count"),
        (&guest, "dormir::interrupt_entry"),
        (&guest, "dormir::platform::bare::TimerSource"),
        (&guest, "dormir::platform::hyperlight::block_on"),
    ] {
        assert!(items.contains_key(path), "{path} is not listed");
    }

    let mut without = BTreeSet::new();
    let mut not_run = BTreeSet::new();
    let mut not_guests = BTreeSet::new();
    let mut beside_guests = BTreeSet::new();
    let all = || host.iter().chain(&guest);
    let guests = all().filter(|(_, item)| item.examples.iter().any(Example::is_guest));
    let files_with_guests: BTreeSet<_> = guests.map(|(_, item)| &item.file).collect();
    for (path, item) in all() {
        if item.examples.is_empty() && item.needs_example {
            without.insert(line(path, item));
        }
        let has_host = WITH_HOST.iter().any(|folder| item.file.contains(folder));
        if !has_host && item.examples.iter().any(|example| !example.is_run) {
            not_run.insert(line(path, item));
        }
        let needs_machine = !host.contains_key(path) && !has_host;
        if !item.examples.iter().all(Example::is_guest) {
            if needs_machine {
                not_guests.insert(line(path, item));
            } else if files_with_guests.contains(&item.file) {
                beside_guests.insert(line(path, item));
            }
        }
    }
    assert_none("public items without an example", &without);
    assert_none("examples that are not run", &not_run);
    assert_none(
        "examples that need a machine, but are not guests",
        &not_guests,
    );
    // `cargo vm test` runs the examples of a file together.
    assert_none(
        "examples that are not guests, in a file with examples that are",
        &beside_guests,
    );
}
