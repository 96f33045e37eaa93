//! The suites, and what is known of them.

use clap::ValueEnum;

/// Whose tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Peer {
    /// futures-rs: its tests of `futures`, `futures-channel` and `futures-executor`
    Futures,
    /// embassy-executor: its tests of the order of events
    Embassy,
}

/// The tests of one of their packages.
#[derive(Debug)]
pub(super) struct Suite {
    pub(super) peer: Peer,
    /// Their package, and our list of its files.
    pub(super) name: &'static str,
    /// Our package that has the tests.
    pub(super) package: &'static str,
    /// How many tests it has, of the packages that are pinned.
    pub(super) tests: usize,
    /// Files that are not built, and why.
    pub(super) left_out: &'static [(&'static str, &'static str)],
    /// Tests that are expected to fail, and why.
    pub(super) fails: &'static [(&'static str, &'static str)],
}

const FUTURES: &str = "dormir-peers-futures";

pub(super) const SUITES: &[Suite] = &[
    Suite {
        peer: Peer::Futures,
        name: "futures",
        package: FUTURES,
        tests: 236,
        left_out: &[
            (
                "_require_features",
                "has no test, and demands all features of the package",
            ),
            ("compat", "runs its future on tokio 0.1"),
        ],
        fails: &[],
    },
    Suite {
        peer: Peer::Futures,
        name: "futures-channel",
        package: FUTURES,
        tests: 48,
        left_out: &[],
        fails: &[],
    },
    Suite {
        peer: Peer::Futures,
        name: "futures-executor",
        package: FUTURES,
        tests: 20,
        left_out: &[],
        fails: &[],
    },
    Suite {
        peer: Peer::Embassy,
        name: "embassy-executor",
        package: "dormir-peers-embassy",
        tests: 9,
        left_out: &[("ui", "compares the messages of embassy's own attribute")],
        fails: &[(
            "test::waking_with_old_waker_after_respawn",
            "wakes a task that has ended by its old waker, after it was spawned on another \
             executor. embassy's waker names the task's memory, so the wake belongs to the other \
             executor; dormir's names a slot of the first one, which is told of the wake and polls \
             nothing",
        )],
    },
];
