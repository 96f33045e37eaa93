//! The Hyperlight guest: the functions that the runner's cases and measurements call.
#![no_std]
#![no_main]

extern crate alloc;

mod bench;
mod call_bench;
mod demo;
mod endings;
mod host_calls;
mod misuse;
mod polled;
mod random_calls;
mod sleepers;
mod streams;
mod typed_calls;
mod written_once;

use hyperlight_guest_bin::guest_function;

/// Runs a future without a task or a timer.
#[guest_function]
fn answer() -> Result<i32, hyperlight_guest::error::HyperlightGuestError> {
    Ok(dormir::hyperlight::block_on(async { 42 })?)
}

/// Uses no executor: what a call costs by itself.
#[guest_function]
fn plain() -> i32 {
    42
}
