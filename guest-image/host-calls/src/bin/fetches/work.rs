//! Shown in docs/host-calls.md.
use alloc::vec::Vec;
use core::time::Duration;

use dormir::{host_calls, time::with_timeout};

/// Fetches so many pages at once. Returns how many bytes they have.
pub(crate) async fn fetch_all(count: u64) -> u64 {
    let fetch = |number: u64| host_calls::call("fetch", &number.to_le_bytes());
    let calls: Vec<_> = (0..count).map(fetch).collect();
    let mut bytes = 0;
    for call in calls {
        if let Ok(Ok(page)) = with_timeout(Duration::from_secs(60), call).await {
            bytes += page.len() as u64;
        }
    }
    bytes
}
