//! A test: a guest that passes if its `main` returns, and fails if it panics.
#![no_std]
#![no_main]

use core::time::Duration;

use dormir::{block_on, idle::Halt, time::Instant};
use dormir_guest::entry;

use {{crate}}::blink;

entry!(main);

fn main() {
    let start = Instant::now();
    let times = block_on(async { blink(3).await }, Halt);
    assert_eq!(times, 3);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(300), "early: {took:?}");
}
