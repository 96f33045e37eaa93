//! How many calls are made in a second.

use alloc::string::String;
use core::time::Duration;

use dormir::time::Instant;
use dormir_guest::console::report;

use crate::work::echoes;

/// How long each is measured.
const TIME: Duration = Duration::from_millis(500);

/// Reports how many calls are made in a second, one after another and a hundred at a time.
pub(crate) async fn rates() -> Result<(), String> {
    for (in_flight, name) in [(1, "calls_1"), (100, "calls_100")] {
        let (begin, mut calls) = (Instant::now(), 0);
        let since = || Instant::now().saturating_duration_since(begin);
        while since() < TIME {
            calls += echoes(in_flight).await? as u64;
        }
        report(name, calls * 1000 / since().as_millis() as u64);
    }
    Ok(())
}
