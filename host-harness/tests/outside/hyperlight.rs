//! Hyperlight guests and their hosts: those of `cargo vm new --template hyperlight`, whose test
//! passes, and the programs of docs/host-calls.md.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
};

use crate::{PROGRAM, checkout, command, fetch_for, has_target, run, stderr, stdout, target};

/// Held by a test while it uses the folder of builds: crates of both have the same names.
static BUILDS: Mutex<()> = Mutex::new(());

#[test]
fn the_new_host_calls_the_new_guest() {
    if !has_target() {
        return;
    }
    dormir_harness::hyperlight::probe().expect("sandboxes can run");
    let _builds = BUILDS.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut new = command(PROGRAM);
    new.args(["new", "naps", "--template", "hyperlight"])
        .current_dir(folder.path());
    let output = run(new);
    assert!(output.status.success(), "{}", stderr(&output));

    let pair = folder.path().join("naps");
    let mut test = cargo_of_host("test");
    test.current_dir(pair.join("host"));
    let output = run(test);
    let stdout = stdout(&output);
    assert!(output.status.success(), "{stdout}\n{}", stderr(&output));
    assert!(stdout.contains("test the_guest_naps ... ok"), "{stdout}");
}

#[test]
fn the_programs_of_the_page_on_host_calls_run() {
    if !has_target() {
        return;
    }
    dormir_harness::hyperlight::probe().expect("sandboxes can run");
    let _builds = BUILDS.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().expect("a folder for the test");
    let folder = folder.path();
    symlink(checkout(), folder.join("dormir")).expect("a link is made");
    let (basics, page) = (Page::read("hyperlight.md"), Page::read("host-calls.md"));
    write(
        folder,
        "guest/.cargo/config.toml",
        &basics.block("-eentrypoint"),
    );
    let guest = basics.block("hyperlight-guest-bin =");
    let host = basics.block("hyperlight-host =");
    write_manifest(folder, "host", &host);

    // The first pair, with the functions that the page adds to its guest.
    let selects = "embassy-futures = \"0.1\"\n\
                   futures-util = { version = \"0.3\", default-features = false }\n";
    write_manifest(folder, "guest", &(guest.clone() + selects));
    let functions = ["fn fetch_all(", "fn fetch_soon(", "fn fetch_slowly("];
    let program = functions.map(|function| page.block(function)).concat();
    write(folder, "guest/src/main.rs", &program);
    write(folder, "host/src/main.rs", &page.block("thread::sleep("));
    assert_eq!(build_and_run(folder), "20 pages have 190 bytes\n");

    // The same host on tokio, and one that drives sandboxes.
    let on_tokio = page.block("features = [\"tokio\"]");
    let others = host.lines().filter(|line| !line.contains("dormir-"));
    let others = others.collect::<Vec<_>>().join("\n");
    write_manifest(folder, "host", &format!("{others}\n{on_tokio}"));
    fetch_for(&folder.join("host"));
    let program = page.block("runtime::Runtime::new");
    write(folder, "host/src/main.rs", &program);
    assert_eq!(build_and_run(folder), "20 pages have 190 bytes\n");

    let (fetch, _) = program.split_once("fn main()").expect("it has a main");
    let driving = page.block("host.drive(");
    write(folder, "host/src/main.rs", &format!("{fetch}{driving}"));
    write(folder, "guest/src/main.rs", &page.block("poll_once()"));
    assert_eq!(build_and_run(folder), "190 and 190 bytes\n");

    // The pair with types.
    let types = "types = { path = \"../types\" }\n";
    let guest = guest.replace("\"hyperlight\"", "\"hyperlight-typed\"") + types;
    let host = host.replace(
        "hyperlight/host\"",
        "hyperlight/host\", features = [\"typed\"]",
    );
    write_manifest(folder, "types", &page.block("postcard-schema ="));
    write_manifest(folder, "guest", &guest);
    write_manifest(folder, "host", &(host + types));
    write(
        folder,
        "types/src/lib.rs",
        &page.block("pub enum FetchError"),
    );
    write(
        folder,
        "guest/src/main.rs",
        &page.block("dormir::host_functions!"),
    );
    write(folder, "host/src/main.rs", &page.block("typed_function("));
    assert_eq!(
        build_and_run(folder),
        "200: this is /\nno page: NoSuchHost\n"
    );
}

/// A page of the documentation, by its blocks of code.
struct Page(Vec<String>);

impl Page {
    fn read(name: &str) -> Self {
        let text = fs::read_to_string(checkout().join("docs").join(name)).expect("it is a page");
        // Between two fences; those in lists are indented, and the text with them.
        let blocks = text.split("```").skip(1).step_by(2);
        let without_language = blocks.filter_map(|block| block.split_once('\n'));
        Self(
            without_language
                .map(|(_, block)| block.to_owned())
                .collect(),
        )
    }

    /// Returns the first block that contains `words`.
    #[track_caller]
    fn block(&self, words: &str) -> String {
        let block = self.0.iter().find(|block| block.contains(words));
        block
            .unwrap_or_else(|| panic!("no block has `{words}`"))
            .clone()
    }
}

fn write_manifest(folder: &Path, name: &str, dependencies: &str) {
    let package = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n\n");
    write(
        folder,
        &format!("{name}/Cargo.toml"),
        &(package + dependencies),
    );
}

fn write(folder: &Path, file: &str, text: &str) {
    let path = folder.join(file);
    let parent = path.parent().expect("it is in a folder");
    fs::create_dir_all(parent).expect("a folder is made");
    fs::write(path, text).expect("the file is written");
}

/// Makes a command of cargo that builds guests and hosts in one folder, which is kept for the next
/// run; `target` has finished programs alone. Not a link in its place: what is built would be built
/// anew for each link.
fn cargo(subcommand: &str) -> Command {
    let mut cargo = command("cargo");
    cargo
        .env("CARGO_BUILD_BUILD_DIR", target("hyperlight"))
        .arg(subcommand);
    cargo
}

/// The same for a host. Unlike a user's, what it builds has little debug information.
fn cargo_of_host(subcommand: &str) -> Command {
    let mut cargo = cargo(subcommand);
    for setting in [
        "profile.dev.debug = \"line-tables-only\"",
        "profile.dev.package.\"*\".debug = false",
    ] {
        cargo.args(["--config", setting]);
    }
    cargo
}

/// Builds the guest and runs its host. Returns what that prints.
#[track_caller]
fn build_and_run(folder: &Path) -> String {
    let mut build = cargo("build");
    build.arg("--release").current_dir(folder.join("guest"));
    let output = run(build);
    assert!(output.status.success(), "{}", stderr(&output));
    let mut host = cargo_of_host("run");
    host.arg("--quiet").current_dir(folder.join("host"));
    let output = run(host);
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}
