//! Crates outside this repository, built by cargo as users build them: the way that README.md
//! describes, what works in a new crate, and the messages for what a crate lacks.

mod hyperlight;
mod lacks;
mod made;
mod odd_programs;
mod script;

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Once,
    time::Duration,
};

use dormir_harness::{toolchain::GuestToolchain, workspace::Workspace};

/// How long a build may take.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// The command.
const PROGRAM: &str = env!("CARGO_BIN_EXE_cargo-vm");

/// Returns the top folder of this checkout.
fn checkout() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let top = package.parent().expect("it is in a checkout");
    top.canonicalize().expect("it exists")
}

/// Returns the folder in which a test's crates are built, which is kept for its next run.
fn target(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Returns the folder in which new guests are built: what they depend on is built once. Each has a
/// name of its own, since cargo tells packages of one name in two folders apart only by the times
/// of their files.
fn target_of_new_guests() -> PathBuf {
    target("new-guests")
}

/// Makes a command with none of the settings that the outer cargo has set, except the compiler.
/// Builds download nothing: what they need is fetched here, if it is not there.
fn command(program: &str) -> Command {
    fetch();
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let is_setting = text.contains("CARGO") || text.contains("RUST");
        if is_setting && !["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"].contains(&&*text) {
            command.env_remove(name);
        }
    }
    command.env("CARGO_NET_OFFLINE", "true");
    command
}

/// Returns whether the compiler has the target of guests, which new crates need: a distribution's
/// compiler may have the library's source instead.
fn has_target() -> bool {
    let workspace = Workspace::locate().expect("the test runs in a checkout");
    let has_it = matches!(
        GuestToolchain::detect(&workspace),
        Ok(GuestToolchain::Target(_))
    );
    if !has_it {
        println!("skipped: the compiler lacks the target of guests");
    }
    has_it
}

/// Fetches what new crates depend on, once.
fn fetch() {
    static FETCHED: Once = Once::new();
    FETCHED.call_once(|| {
        for workspace in [
            "guest-image",
            "guest-image/hyperlight",
            "host-harness/hyperlight",
        ] {
            fetch_in(&checkout().join(workspace), &["--locked"]);
        }
    });
}

/// Fetches what a crate depends on that this checkout does not: tokio's macros, for example.
fn fetch_for(folder: &Path) {
    fetch_in(folder, &["--target=x86_64-unknown-linux-gnu"]);
}

fn fetch_in(folder: &Path, options: &[&str]) {
    let mut fetch = Command::new(env!("CARGO"));
    fetch.args(["fetch", "--quiet"]).args(options);
    let status = fetch.current_dir(folder).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "{}",
        folder.display()
    );
}

/// Runs a command to its end.
fn run(command: Command) -> Output {
    let mut command = assert_cmd::Command::from_std(command);
    command.timeout(BUILD_LIMIT);
    command.output().expect("the command runs and ends in time")
}

/// Makes a guest crate in this folder by `cargo vm new`; returns the crate's folder.
fn new_guest(folder: &Path, name: &str) -> PathBuf {
    let mut new = command(PROGRAM);
    new.args(["new", name]).current_dir(folder);
    let output = run(new);
    assert!(output.status.success(), "{}", stderr(&output));
    folder.join(name)
}

/// Returns what a command wrote to standard output.
fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns what a command wrote to standard error.
fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
