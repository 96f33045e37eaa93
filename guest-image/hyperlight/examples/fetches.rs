//! The guest of docs/host-calls.md.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::time::Duration;

use dormir::{hyperlight, time::with_timeout};
use hyperlight_guest::error::HyperlightGuestError;
use hyperlight_guest_bin::guest_function;

#[guest_function]
fn fetch_all(count: u64) -> Result<u64, HyperlightGuestError> {
    let bytes = hyperlight::block_on(async {
        // All are in flight before the first is awaited.
        let fetch = |number: u64| hyperlight::call("fetch", &number.to_le_bytes());
        let calls: Vec<_> = (0..count).map(fetch).collect();
        let mut bytes = 0;
        for call in calls {
            match with_timeout(Duration::from_secs(60), call).await {
                Ok(Ok(page)) => bytes += page.len() as u64,
                // A `CallError`: it says what went wrong.
                Ok(Err(_error)) => {}
                // The call was dropped, and the host has dropped its future.
                Err(_timed_out) => {}
            }
        }
        bytes
    })?;
    Ok(bytes)
}
