//! Tests that hold a promise: the command line of cargo that runs them.

use crate::{cli::test, host_cargo::cargo, workspace::Workspace};
use std::process::Command;

/// Tests of one program.
#[derive(Debug)]
pub(super) struct Tests {
    pub(super) of: Of,
    /// What selects them, as the program takes it. (The one of tests in VMs takes one name.)
    pub(super) filter: &'static [&'static str],
}

/// Whose tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// In VMs.
    Vms,
    /// The library's own, on the host.
    Library,
    /// The library's under loom, all of them.
    Models,
    /// The drivers' of dormir-virtio.
    Drivers,
    /// The harness's own.
    Harness,
    /// The harness's with guests of a few instructions, written by hand.
    HarnessInVms,
    /// The command's.
    Command,
    /// The corpora of the fuzz targets.
    Corpora,
    /// That of the target `json`, in the program that reads figures.
    FiguresCorpus,
    /// The messages of host calls.
    Protocol,
    /// The host's side of host calls.
    HyperlightHost,
}

impl Of {
    pub(super) fn needs_vms(self) -> bool {
        matches!(self, Self::Vms | Self::HarnessInVms | Self::Command)
    }

    /// The words after `cargo test`.
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Vms => &["--package=dormir-tests", "--test=vm"],
            Self::Library => &["--package=dormir", "--lib", "--all-features"],
            Self::Models => test::MODELS,
            Self::Drivers => &["--package=dormir-virtio", "--lib", "--all-features"],
            Self::Harness => &["--package=dormir-harness", "--lib"],
            Self::HarnessInVms => &["--package=dormir-harness", "--test=vmm"],
            Self::Command => &["--package=dormir-harness", "--test=cli"],
            Self::Corpora => &["--package=dormir-harness", "--test=corpus"],
            Self::FiguresCorpus => &["--package=dormir-measure", "--test=corpus"],
            Self::Protocol => &[
                "--package=dormir-hyperlight-protocol",
                "--lib",
                "--all-features",
            ],
            Self::HyperlightHost => &["--package=dormir-hyperlight-host", "--lib"],
        }
    }

    /// The folder of the workspace, from the top folder.
    fn folder(self) -> &'static str {
        match self {
            Self::HyperlightHost => "host-harness/hyperlight",
            _ => "",
        }
    }
}

impl Tests {
    pub(super) fn command(&self, workspace: &Workspace) -> Command {
        let mut command = match self.of {
            Of::Models => test::models(workspace),
            _ => cargo(workspace, "test"),
        };
        if self.of != Of::Models {
            command.args(self.of.words());
        }
        if !self.filter.is_empty() {
            command.arg("--").args(self.filter);
        }
        command.current_dir(workspace.root().join(self.of.folder()));
        command
    }

    /// The command, for people.
    pub(super) fn line(&self) -> String {
        let mut words = vec!["cargo test"];
        words.extend(self.of.words());
        if !self.filter.is_empty() {
            words.push("--");
            words.extend(self.filter);
        }
        let line = words.join(" ");
        match self.of {
            Of::Models => format!("RUSTFLAGS=--cfg=loom {line}"),
            of if of.folder().is_empty() => line,
            of => format!("(cd {}; {line})", of.folder()),
        }
    }
}
