//! The tools, and what is tested under each.

use crate::workspace::Workspace;
use clap::ValueEnum;
use std::{fmt, process::Command};

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Tool {
    /// Miri interprets each step: use of freed or uninitialized memory, broken rules of references,
    /// data races on one of many orders. The executor, the timers' tree and queue, and the queue of
    /// dormir-virtio
    Miri,
    /// `ThreadSanitizer` watches threads run: data races. Tests of the library, of dormir-virtio
    /// and of the host's side of host calls
    Tsan,
}

/// Tests of a package.
pub(super) struct Tests {
    /// Their name on the command line.
    pub(super) part: &'static str,
    /// What they are of, for the middle of a sentence.
    pub(super) what: &'static str,
    /// The folder of its workspace.
    folder: &'static str,
    /// The words after `cargo`.
    words: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
}

/// Without instructions that the tools do not see.
const SANITIZED: &str = "--cfg sanitized";

/// A backtrace takes Miri seconds, and tests panic on purpose.
const NO_BACKTRACES: (&str, &str) = ("RUST_BACKTRACE", "0");

const MIRI: &[Tests] = &[
    Tests {
        part: "timers",
        what: "the timers' tree and queue",
        folder: "",
        words: &[
            "miri",
            "test",
            "--package=dormir",
            "--lib",
            "--all-features",
            "--",
            "time::queue",
            "time::tree",
        ],
        variables: &[
            ("RUSTFLAGS", SANITIZED),
            NO_BACKTRACES,
            ("MIRIFLAGS", "-Zmiri-strict-provenance"),
            ("PROPTEST_CASES", "4"),
        ],
    },
    Tests {
        part: "executor",
        what: "the executor",
        folder: "",
        words: &[
            "miri",
            "test",
            "--package=dormir",
            "--lib",
            "--features=alloc",
            "executor::tests",
        ],
        variables: &[
            ("RUSTFLAGS", SANITIZED),
            NO_BACKTRACES,
            ("MIRIFLAGS", "-Zmiri-disable-isolation"),
        ],
    },
    Tests {
        part: "virtio",
        what: "the drivers of dormir-virtio",
        folder: "",
        words: &[
            "miri",
            "test",
            "--package=dormir-virtio",
            "--lib",
            "--all-features",
            "--",
            "--skip=model",
        ],
        variables: &[
            ("RUSTFLAGS", SANITIZED),
            NO_BACKTRACES,
            (
                "MIRIFLAGS",
                "-Zmiri-disable-isolation -Zmiri-permissive-provenance",
            ),
        ],
    },
];

/// Models have one thread, and take long. The target has a name, so that build scripts and macros
/// are built without the sanitizer.
macro_rules! under_tsan {
    ($part:literal, $what:literal, $folder:literal, $($word:literal),*) => {
        Tests {
            part: $part,
            what: $what,
            folder: $folder,
            words: &[
                "test",
                "--target=x86_64-unknown-linux-gnu",
                "-Zbuild-std",
                "--lib",
                $($word,)*
                "--",
                "--skip=model",
            ],
            variables: &[
                ("RUSTFLAGS", "--cfg sanitized -Zsanitizer=thread"),
                ("PROPTEST_CASES", "16"),
                // As without the tool: a test asks for more memory than there is.
                ("TSAN_OPTIONS", "allocator_may_return_null=1"),
            ],
        }
    };
}

const TSAN: &[Tests] = &[
    under_tsan!(
        "library",
        "the library",
        "",
        "--package=dormir",
        "--all-features"
    ),
    under_tsan!(
        "virtio",
        "the drivers of dormir-virtio",
        "",
        "--package=dormir-virtio",
        "--all-features"
    ),
    under_tsan!(
        "host-calls",
        "the host's side of host calls",
        "host-harness/hyperlight",
        "--package=dormir-hyperlight-host",
        "--no-default-features"
    ),
];

impl Tool {
    /// Its name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Miri => "miri",
            Self::Tsan => "tsan",
        }
    }

    /// What a run shows.
    pub(super) fn claim(self) -> &'static str {
        match self {
            Self::Miri => "Miri finds no undefined behaviour in executor, timers and drivers",
            Self::Tsan => "ThreadSanitizer finds no data race in the tests on the host",
        }
    }

    /// The components of the nightly compiler that it needs, as rustup names them.
    pub(super) fn components(self) -> &'static [&'static str] {
        match self {
            Self::Miri => &["miri", "rust-src"],
            Self::Tsan => &["rust-src"],
        }
    }

    /// The names of its parts.
    pub(super) fn parts(self) -> String {
        let parts: Vec<_> = self.tests().iter().map(|tests| tests.part).collect();
        parts.join(", ")
    }

    pub(super) fn tests(self) -> &'static [Tests] {
        match self {
            Self::Miri => MIRI,
            Self::Tsan => TSAN,
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Miri => "Miri",
            Self::Tsan => "ThreadSanitizer",
        })
    }
}

impl Tests {
    /// Cargo's command, of the nightly compiler.
    pub(super) fn command(&self, workspace: &Workspace) -> Command {
        let mut command = Command::new("rustup");
        crate::toolchain::isolate(&mut command, &["CARGO_BUILD_JOBS", "CARGO_NET_OFFLINE"]);
        // The builds are others than those for tests.
        let target = workspace.root().join("target").join("soundness");
        let at = self.words.iter().position(|word| *word == "--");
        let (before, after) = self.words.split_at(at.unwrap_or(self.words.len()));
        command
            .args(["run", "nightly", "cargo"])
            .args(before)
            .arg("--locked")
            .arg("--target-dir")
            .arg(&target)
            .env("CARGO_BUILD_BUILD_DIR", target)
            .args(after)
            .envs(self.variables.iter().copied())
            .current_dir(workspace.root().join(self.folder));
        command
    }
}
