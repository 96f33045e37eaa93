//! The files of new crates.

use super::origin::Origin;
use std::{env, fmt, path::PathBuf};

/// A file's path in the new folder, and its text.
type File = (&'static str, String);

const IGNORED: &str = "target/\n";
const TOOLCHAIN: &str = include_str!("../../../templates/toolchain.toml");

/// Makes the files of a bootable guest.
pub(super) fn guest(name: &str, origin: &Origin, runner: &Runner) -> Vec<File> {
    let fill = |text: &str| {
        text.replace("{{name}}", name)
            .replace("{{crate}}", &name.replace('-', "_"))
            .replace("{{dormir}}", &origin.dependency(""))
            .replace("{{dormir-guest}}", &origin.dependency("guest-image"))
            .replace("{{runner}}", &runner.setting())
            .replace("{{clone}}", &origin.clone_step())
            .replace("{{harness}}", &origin.harness())
    };
    vec![
        (
            "Cargo.toml",
            fill(include_str!("../../../templates/guest/manifest.toml")),
        ),
        (
            ".cargo/config.toml",
            fill(include_str!("../../../templates/guest/config.toml")),
        ),
        ("rust-toolchain.toml", TOOLCHAIN.into()),
        (".gitignore", IGNORED.into()),
        (
            "src/lib.rs",
            fill(include_str!("../../../templates/guest/src/lib.rs")),
        ),
        (
            "src/main.rs",
            fill(include_str!("../../../templates/guest/src/main.rs")),
        ),
        (
            "tests/blink.rs",
            fill(include_str!("../../../templates/guest/tests/blink.rs")),
        ),
        (
            ".github/workflows/ci.yml",
            fill(include_str!("../../../templates/guest/ci.yml")),
        ),
    ]
}

/// Makes the files of a Hyperlight guest and its host: the programs of docs/hyperlight.md.
pub(super) fn hyperlight(origin: &Origin) -> Vec<File> {
    // The first line tells where the program is shown.
    let program = |text: &str| text.split_once('\n').unwrap_or_default().1.to_owned();
    let host = origin.dependency("host-harness/hyperlight/host");
    let fill = |text: &str| {
        text.replace("{{dormir}}", &origin.dependency(""))
            .replace("{{dormir-hyperlight-host}}", &host)
            .replace("{{clone}}", &origin.clone_step())
    };
    vec![
        (
            "guest/Cargo.toml",
            fill(include_str!(
                "../../../templates/hyperlight/guest/manifest.toml"
            )),
        ),
        (
            "guest/.cargo/config.toml",
            include_str!("../../../templates/hyperlight/guest/config.toml").into(),
        ),
        (
            "guest/src/main.rs",
            program(include_str!(
                "../../../../guest-image/hyperlight/examples/naps.rs"
            )),
        ),
        (
            "host/Cargo.toml",
            fill(include_str!(
                "../../../templates/hyperlight/host/manifest.toml"
            )),
        ),
        (
            "host/src/main.rs",
            program(include_str!("../../../hyperlight/host/examples/naps.rs")),
        ),
        (
            "host/tests/naps.rs",
            include_str!("../../../templates/hyperlight/host/tests/naps.rs").into(),
        ),
        ("rust-toolchain.toml", TOOLCHAIN.into()),
        (".gitignore", IGNORED.into()),
        (
            ".github/workflows/ci.yml",
            fill(include_str!("../../../templates/hyperlight/ci.yml")),
        ),
    ]
}

/// Lists the packages among the files.
pub(super) fn list(files: &[File]) -> &'static str {
    let packages = files
        .iter()
        .filter(|(path, _)| path.ends_with("Cargo.toml"));
    match packages.count() {
        1 => "a guest crate",
        _ => "a guest crate and a host crate",
    }
}

/// What cargo runs a new guest by.
#[derive(Debug)]
pub(super) enum Runner {
    /// `cargo-vm`, which is installed.
    Installed,
    /// This program, where it is.
    Here(PathBuf),
}

impl Runner {
    pub(super) fn find() -> Self {
        match (which::which("cargo-vm"), env::current_exe()) {
            (Err(_), Ok(path)) if path.to_str().is_some() => Self::Here(path),
            _ => Self::Installed,
        }
    }

    /// The setting in `.cargo/config.toml`.
    fn setting(&self) -> String {
        match self {
            Self::Installed => "\"cargo-vm runner\"".into(),
            // The escapes are those of TOML, too.
            Self::Here(path) => format!("[{:?}, \"runner\"]", path.to_string_lossy()),
        }
    }
}

/// Says what the runner is.
impl fmt::Display for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installed => f.write_str("its runner is the installed program `cargo-vm`"),
            Self::Here(path) => write!(
                f,
                "its runner is {}, since no `cargo-vm` is installed: after `cargo install --locked \
                 --path host-harness` in a checkout, write `runner = \"cargo-vm runner\"` in its \
                 .cargo/config.toml",
                path.display()
            ),
        }
    }
}
