//! Tests, each of which runs in a VM of its own.
#![no_std]
#![no_main]

use core::time::Duration;

use dormir::{executor::Spawner, time::Instant};
use dormir_guest::println;
use {{crate}}::{blink, period};

dormir_guest::test_main!();

#[dormir_guest::test]
fn a_faster_rate_has_a_shorter_period() {
    println!("shown if the test fails, and with `-- --nocapture`");
    assert!(period(20) < period(10));
}

/// An `async` test is a task. Its time limit is in seconds, the boot included.
#[dormir_guest::test(timeout = 30)]
async fn tasks_blink_at_the_same_time(spawner: Spawner) {
    let start = Instant::now();
    let handles = [(3, 10), (6, 20)]
        .map(|(times, rate)| spawner.spawn(blink(times, rate)).expect("there is room"));
    for (handle, times) in handles.into_iter().zip([3, 6]) {
        assert_eq!(handle.await, Ok(times));
    }
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(300), "early: {took:?}");
}

#[dormir_guest::test]
#[should_panic(expected = "nothing ever blinks")]
fn a_rate_of_zero_is_refused() {
    period(0);
}
