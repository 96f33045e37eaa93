//! A server of `cargo vm bench --io`, by picoserve.
#![no_std]
#![no_main]

extern crate alloc;

#[path = "../bench.rs"]
mod bench;
#[path = "../unflushed.rs"]
mod unflushed;

use alloc::{boxed::Box, vec};
use core::error::Error;

use bench::{PAGE, Serve};
use embassy_net::tcp::TcpSocket;
use picoserve::{Config, Router, Server, Timeouts, routing::get, time::Duration};
use unflushed::Unflushed;

dormir_guest::entry!(main);

/// Longer than by default, where a connection that rests for a second is closed: where KVM emulates
/// instructions, it takes longer to open a hundred. As many timers are armed.
const PATIENCE: Duration = Duration::from_secs(60);

static CONFIG: Config = Config::new(Timeouts {
    start_read_request: PATIENCE,
    persistent_start_read_request: PATIENCE,
    read_request: PATIENCE,
    write: PATIENCE,
})
.keep_connection_alive();

fn main() -> Result<(), Box<dyn Error>> {
    bench::run::<Picoserve>()
}

struct Picoserve;

impl Serve for Picoserve {
    async fn serve(socket: TcpSocket<'_>) {
        let pages = Router::new().route("/", get(async || PAGE));
        let mut buffer = vec![0; 2048];
        // What is wrong with a connection is its peer's matter.
        let _ = Server::new(&pages, &CONFIG, &mut buffer)
            .serve(Unflushed(socket))
            .await;
    }
}
