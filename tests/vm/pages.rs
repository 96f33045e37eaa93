//! The programs of docs: built as the pages have them, and run.

use std::{
    env, fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{self, Command},
    time::Duration,
};

use dormir_harness::{
    hyperlight::{self, SandboxMode},
    toolchain::{GuestToolchain, TARGET},
    vmm::{self, Accelerator, MachineType, RunConfig, StopToken, Vmm},
    workspace::Workspace,
};
use libtest_mimic::{Failed, Trial};

use crate::guest;

/// How long a build may take.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("hyperlight::page-naps", || {
            hyperlight_pair(&Pair {
                name: "naps",
                page: include_str!("../../docs/hyperlight.md"),
                built: [
                    include_str!("../../guest-image/hyperlight/examples/naps.rs"),
                    include_str!("../../host-harness/hyperlight/host/examples/naps.rs"),
                ],
                prints: "it napped for 10 ms\n",
            })
        }),
        Trial::test("hyperlight::page-fetches", || {
            hyperlight_pair(&Pair {
                name: "fetches",
                page: include_str!("../../docs/host-calls.md"),
                built: [
                    include_str!("../../guest-image/hyperlight/examples/fetches.rs"),
                    include_str!("../../host-harness/hyperlight/host/examples/fetches.rs"),
                ],
                prints: "20 pages have 190 bytes\n",
            })
        }),
        Trial::test("qemu-tcg/microvm::page-guest", guest_outside),
    ]
}

/// The blocks of a page in one language, in the section that begins with `heading`, without the
/// indentation of a list.
fn blocks(page: &str, heading: &str, language: &str) -> Vec<String> {
    let page = page.replace("\n   ", "\n");
    let (_, section) = page.split_once(heading).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let begin = format!("```{language}\n");
    let blocks = section.split(&begin).skip(1);
    blocks
        .filter_map(|rest| rest.split_once("```\n"))
        .map(|(block, _)| block.to_owned())
        .collect()
}

/// Checks that the section of a page shows these programs, but for the line of each that tells
/// where it is shown.
pub(crate) fn check_shown(page: &str, heading: &str, built: &[&str]) -> Result<(), Failed> {
    let shown = blocks(page, heading, "rust");
    let without_line = |program: &&str| program.split_once('\n').unwrap_or_default().1.to_owned();
    let built: Vec<_> = built.iter().map(without_line).collect();
    if shown == built {
        return Ok(());
    }
    Err(format!("the page shows {shown:#?}\ninstead of {built:#?}").into())
}

/// A new folder outside of this repository, whose configuration is not to reach the page's
/// programs; it is removed at the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let path = env::temp_dir().join(format!("dormir-{name}-{}", process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that is left there harms nothing.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// docs/guests.md: a guest outside of the repository, with the README's program.
fn guest_outside() -> Result<(), Failed> {
    let page = include_str!("../../docs/guests.md");
    let [manifest, config] = &blocks(page, "## What makes a crate a guest", "toml")[..] else {
        return Err("docs/guests.md has another number of files for a guest".into());
    };
    let readme = include_str!("../../README.md");
    let [program] = &blocks(readme, "## A guest", "rust")[..] else {
        return Err("the README has another number of programs".into());
    };
    let workspace = Workspace::locate()?;
    let folder = Folder::new("guest")?;
    let guest = folder.0.join("guest");
    for inside in ["src", ".cargo"] {
        fs::create_dir_all(guest.join(inside))?;
    }
    symlink(workspace.root(), folder.0.join("dormir"))?;
    let package = "[package]\nname = \"guest\"\nedition = \"2024\"\n\n";
    fs::write(guest.join("Cargo.toml"), format!("{package}{manifest}"))?;
    fs::write(guest.join(".cargo/config.toml"), config)?;
    fs::write(guest.join("src/main.rs"), program)?;
    // So that nothing need be downloaded, and the compiler is the one that has the target.
    for (file, from) in [
        ("Cargo.lock", workspace.guest()),
        ("rust-toolchain.toml", workspace.root().to_owned()),
    ] {
        fs::copy(from.join(file), guest.join(file))?;
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page-guest");
    let mut build = GuestToolchain::detect(&workspace)?.command();
    build
        .args(["build", "--release", "--offline", "--target-dir"])
        .arg(&target)
        .current_dir(&guest);
    let built = assert_cmd::Command::from_std(build)
        .timeout(BUILD_LIMIT)
        .output()?;
    if !built.status.success() {
        return Err(String::from_utf8_lossy(&built.stderr).into_owned().into());
    }

    let config = RunConfig {
        timeout: guest::LIMIT,
        ..RunConfig::new(Vmm::Qemu(Accelerator::Tcg, MachineType::Microvm))
    };
    let mut console = Vec::new();
    let elf = target.join(TARGET).join("release/guest");
    let report = vmm::run(&elf, &config, &mut console)?;
    let console = String::from_utf8_lossy(&console);
    if report.outcome.is_success() && console == "hello\nhello again\n" {
        Ok(())
    } else {
        Err(format!("{}\n{console}", report.outcome).into())
    }
}

/// A page's guest and host.
struct Pair {
    /// The name of both examples.
    name: &'static str,
    page: &'static str,
    built: [&'static str; 2],
    prints: &'static str,
}

/// Guest and host of a page, in folders as the page has them.
fn hyperlight_pair(pair: &Pair) -> Result<(), Failed> {
    hyperlight::probe()?;
    check_shown(pair.page, "##", &pair.built)?;
    let name = pair.name;
    let stop = StopToken::default();
    let workspace = Workspace::locate()?;
    let toolchain = GuestToolchain::detect(&workspace)?;
    let guest = hyperlight::build_guest_example(&toolchain, &workspace, name, &stop)?;
    let host = hyperlight::build_host_example(SandboxMode::HostWait, &workspace, name, &stop)?;

    let folder = Folder::new(name)?;
    let (guests, hosts) = (
        folder.0.join("guest/target/x86_64-unknown-none/release"),
        folder.0.join("host"),
    );
    fs::create_dir_all(&guests)?;
    fs::create_dir_all(&hosts)?;
    symlink(guest, guests.join("guest"))?;
    let mut command = Command::new(host);
    command.current_dir(hosts);
    let ran = hyperlight::run_example(&mut command, crate::hyperlight::LIMIT, &stop)?;
    if ran.status.success() && ran.output == pair.prints {
        Ok(())
    } else {
        Err(format!("{}\n{}", ran.status, ran.output).into())
    }
}
