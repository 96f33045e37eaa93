//! Embassy's crates on dormir's executor: the tests of the guest package `embassy`.

use dormir_harness::vmm::Vmm;
use libtest_mimic::{Failed, Trial};

use crate::guest::{is_whole, on_every_vmm, test_passes};

const TESTS: &[&str] = &[
    "sync::channel_signal_and_mutex",
    "timers::side_by_side",
    "timers::the_clock_is_the_same",
    "wakers::as_many_wakers_as_fit_in_one_task",
    "wakers::block_on_without_tasks",
    "wakers::many_tasks",
    "wakers::more_wakers_than_entries",
];

pub(crate) fn trials() -> Vec<Trial> {
    let passes = |test: &&'static str| {
        let test = *test;
        on_every_vmm(&format!("embassy::{test}"), move |vmm| passes(vmm, test))
    };
    let all = Trial::test("embassy::no-test-is-left-out", || {
        is_whole("embassy", TESTS)
    });
    TESTS.iter().flat_map(passes).chain([all]).collect()
}

fn passes(vmm: Vmm, test: &str) -> Result<(), Failed> {
    test_passes("embassy", test, vmm)
}
