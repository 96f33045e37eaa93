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
use picoserve::{Config, Router, Server, routing::get};
use unflushed::Unflushed;

dormir_guest::entry!(main);

static CONFIG: Config = Config::const_default().keep_connection_alive();

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
