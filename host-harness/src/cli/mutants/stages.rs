//! The library's tests on the host, the fast ones first.

use super::mutant::Mutant;

/// Tests that a mutant must survive. A later stage is for those which survived the earlier ones.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) what: &'static str,
    /// Which mutants it can find: those of files whose paths begin so.
    below: &'static str,
    pub(super) environment: &'static [(&'static str, &'static str)],
    pub(super) features: &'static [&'static str],
    pub(super) cargo_test: &'static [&'static str],
    /// The limit of processor time, in seconds: many times what the tests take.
    pub(super) seconds: u32,
}

impl Stage {
    pub(super) fn is_for(&self, mutant: &Mutant) -> bool {
        mutant.file.starts_with(self.below)
    }
}

/// The tests of `cargo vm test` that are the library's own, on the host.
pub(super) const STAGES: [Stage; 5] = [
    Stage {
        what: "the library's tests, without the slow ones",
        below: "",
        environment: &[("PROPTEST_CASES", "16")],
        features: &["--all-features"],
        cargo_test: &[
            "--",
            "--skip=a_million_operations",
            "--skip=a_hundred_thousand",
            "--skip=sixty_five_thousand",
            "--skip=from_another_thread",
            "--skip=from_other_threads",
            "--skip=on_one_thread_at_a_time",
            "--skip=executor::tests::threads",
            "--skip=neither_reported_nor_kept_awake",
            "--skip=in_a_table_",
        ],
        seconds: 20,
    },
    Stage {
        what: "all of the library's tests",
        below: "",
        environment: &[],
        features: &["--all-features"],
        cargo_test: &[],
        seconds: 120,
    },
    Stage {
        what: "the library's tests without metrics and trace",
        below: "",
        environment: &[],
        features: &["--features=alloc"],
        cargo_test: &[],
        seconds: 120,
    },
    Stage {
        what: "the tests of embassy's timers without a heap",
        below: "src/time/",
        environment: &[],
        features: &["--no-default-features", "--features=embassy-time"],
        cargo_test: &["time::embassy"],
        seconds: 120,
    },
    Stage {
        what: "the models under loom",
        below: "src/executor/",
        environment: &[
            ("RUSTFLAGS", "--cfg=loom"),
            ("CARGO_TARGET_DIR", "target/loom"),
        ],
        features: &["--features=alloc", "--profile=models"],
        cargo_test: &["loom_tests"],
        seconds: 3600,
    },
];
