//! Tests that need a machine: they boot guests, one test for each case and VMM.
//!
//! A test is named `VMM::CASE`. The tests of a VMM that is missing fail and give the reason; leave
//! them out by name, as in `cargo test --test vm -- --skip kvm`.

mod beside;
mod clock;
mod counts;
mod data;
mod demos;
mod devices;
mod endings;
mod gdb;
mod guest;
mod guest_tests;
mod host_calls;
mod hyperlight;
mod image;
mod input;
mod latency;
mod net;
mod odd_machines;
mod pages;
mod paused;
mod promises;
mod random_programs;
mod reports;
mod restored;
mod serial;
mod sizes;
mod sleeps;
mod soak;
mod start_info;
mod storm;
mod sweep;
mod timers;
mod vectors;
mod vsock;
mod watchdog;

use std::{
    env,
    hash::{DefaultHasher, Hash, Hasher},
    process::ExitCode,
    thread,
};

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let asked = env::var("RUST_TEST_THREADS").ok();
    let asked = asked
        .and_then(|threads| threads.parse().ok())
        .filter(|threads| *threads > 0);
    // Some guests sleep most of their time. With tests of all kinds mixed, and two more at once
    // than there are processors, these are seldom idle.
    let threads = thread::available_parallelism().map_or(1, usize::from) + 2;
    let threads = arguments.test_threads.or(asked).unwrap_or(threads);
    arguments.test_threads = Some(threads);
    let trials = [
        demos::trials(),
        devices::trials(),
        guest_tests::trials(),
        host_calls::trials(),
        clock::trials(),
        timers::trials(),
        vectors::trials(),
        vsock::trials(),
        endings::trials(),
        gdb::trials(),
        image::trials(),
        input::trials(),
        odd_machines::trials(),
        pages::trials(),
        paused::trials(),
        random_programs::trials(),
        reports::trials(),
        restored::trials(),
        serial::trials(),
        start_info::trials(),
        storm::trials(),
        sweep::trials(),
        counts::trials(),
        data::trials(),
        latency::trials(),
        net::trials(),
        sizes::trials(),
        sleeps::trials(),
        soak::trials(),
        hyperlight::trials(),
        watchdog::trials(),
    ];
    let mut trials: Vec<_> = trials.into_iter().flatten().collect();
    trials.push(promises::trial(&trials));
    trials.sort_by_cached_key(place);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Where a test comes: neighbours in the lists above are seldom neighbours then.
fn place(trial: &Trial) -> u64 {
    let mut hasher = DefaultHasher::new();
    trial.name().hash(&mut hasher);
    hasher.finish()
}
