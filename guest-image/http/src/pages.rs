//! What is served.

use alloc::{format, string::String, vec};
use core::{
    cell::Cell,
    future::poll_fn,
    ops::ControlFlow,
    sync::atomic::{AtomicU32, Ordering},
    task::Poll,
};

use crate::{
    halted::{halted, halts},
    unflushed::Unflushed,
};
use dormir::time::{Instant, Timer};
use picoserve::{Config, Router, Server, Timeouts, routing::get, time::Duration};

static CONFIG: Config = Config::new(Timeouts {
    // By default a second. Where many connections share a slow machine, each has a request less
    // often, or its request is under way for longer, and then meets a connection that is closed.
    persistent_start_read_request: Duration::from_secs(120),
    ..Timeouts::const_default()
})
.keep_connection_alive();

/// What `/large` is.
static LARGE: [u8; 200_000] = [b'x'; 200_000];

/// How often `/` was served.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Serves a connection. Breaks if the guest is to end.
pub(crate) async fn serve(socket: Unflushed<'_>) -> ControlFlow<()> {
    let is_last = Cell::new(false);
    let quit = async || {
        is_last.set(true);
        "the guest ends\n"
    };
    let pages = Router::new()
        .route("/", get(async || page()))
        .route("/large", get(async || &LARGE[..]))
        .route("/idle", get(idle))
        .route("/quit", get(quit));
    let is_over = poll_fn(|_| match is_last.get() {
        true => Poll::Ready(()),
        false => Poll::Pending,
    });
    let mut buffer = vec![0; 2048];
    let server = Server::new(&pages, &CONFIG, &mut buffer);
    let server = server.with_graceful_shutdown(is_over, Duration::from_secs(1));
    // What is wrong with a connection is its peer's matter.
    let _ = server.serve(socket).await;
    match is_last.get() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}

fn page() -> String {
    let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    let millis = Instant::now().as_nanos() / 1_000_000;
    format!("dormir serves its page number {count}, {millis} ms after the start\n")
}

/// Waits ten seconds, and tells how long the vCPU was halted in them, of how long, and how often.
async fn idle() -> String {
    let (start, halted_before, halts_before) = (Instant::now(), halted(), halts());
    Timer::after(core::time::Duration::from_secs(10)).await;
    let (all, halted) = (start.elapsed(), halted() - halted_before);
    let halts = halts() - halts_before;
    format!("{} {} {halts}\n", halted.as_millis(), all.as_millis())
}
