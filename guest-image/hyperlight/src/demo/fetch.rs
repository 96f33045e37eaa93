//! A hundred pages of a server that is slow and fails at times: ten at a time by async host calls,
//! and one after another by a plain host function.

use core::{pin::pin, time::Duration};

use alloc::{format, vec::Vec};
use dormir::{
    hyperlight,
    time::{Instant, with_timeout},
};
use futures_util::stream::{StreamExt, iter};
use hyperlight_guest::error::Result;
use hyperlight_guest_bin::host_comm::call_host;

use super::println;

const PAGES: u64 = 100;
const AT_A_TIME: usize = 10;

/// How long a page may take. The plain function keeps to the same limit by itself.
const LIMIT: Duration = Duration::from_secs(5);

/// What became of some pages.
#[derive(Default)]
struct Fetched {
    bytes: usize,
    failed: u32,
    late: u32,
}

pub(super) fn run() -> Result<()> {
    let (start, fetched, end) = hyperlight::block_on(async {
        let start = Instant::now();
        let pages = pin!(iter(0..PAGES).map(page).buffer_unordered(AT_A_TIME));
        let fetched = pages.fold(Fetched::default(), |sum, page| async move {
            Fetched {
                bytes: sum.bytes + page.bytes,
                failed: sum.failed + page.failed,
                late: sum.late + page.late,
            }
        });
        (start, fetched.await, Instant::now())
    })?;
    let Fetched {
        bytes,
        failed,
        late,
    } = fetched;
    println!("{AT_A_TIME} at a time: {PAGES} pages with {bytes} bytes");
    println!("  {failed} failed and were repeated, {late} took too long, was dropped and repeated");

    let (plain, took) = one_by_one();
    println!("one by one: {PAGES} pages with {plain} bytes");
    let at_a_time = end.saturating_duration_since(start);
    println!(
        "took {} ms and {} ms",
        at_a_time.as_millis(),
        took.as_millis()
    );
    Ok(())
}

/// Fetches a page, again and again if it fails or takes too long.
async fn page(number: u64) -> Fetched {
    let mut fetched = Fetched::default();
    let path = format!("/async/{number}");
    loop {
        let call = hyperlight::call("fetch", path.as_bytes());
        // After the limit the call is dropped, and its connection with it.
        match with_timeout(LIMIT, call).await {
            Ok(Ok(page)) => {
                fetched.bytes = page.len();
                return fetched;
            }
            Ok(Err(_)) => fetched.failed += 1,
            Err(_) => fetched.late += 1,
        }
    }
}

/// The same without tasks: the guest stands still during each call. Returns the bytes, and how long
/// it took.
fn one_by_one() -> (usize, Duration) {
    let clock = || hyperlight::block_on(async { Instant::now() });
    let start = clock();
    let mut bytes = 0;
    for number in 0..PAGES {
        let page = loop {
            let path = format!("/plain/{number}");
            if let Ok(page) = call_host::<Vec<u8>>("plain_fetch", (path,)) {
                break page;
            }
        };
        bytes += page.len();
    }
    let took = match (start, clock()) {
        (Ok(start), Ok(end)) => end.saturating_duration_since(start),
        _ => Duration::ZERO,
    };
    (bytes, took)
}
