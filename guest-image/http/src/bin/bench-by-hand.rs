//! A server of `cargo vm bench --io`, without an HTTP library: whatever is asked for, it answers
//! with the page. What `bench-picoserve` takes more is picoserve's share.
#![no_std]
#![no_main]

extern crate alloc;

#[path = "../bench.rs"]
mod bench;

use alloc::{boxed::Box, format};
use core::error::Error;

use bench::{PAGE, Serve};
use embassy_net::tcp::{Error as TcpError, TcpSocket};
use embedded_io_async::Write;

dormir_guest::entry!(main);

fn main() -> Result<(), Box<dyn Error>> {
    bench::run::<ByHand>()
}

struct ByHand;

impl Serve for ByHand {
    async fn serve(mut socket: TcpSocket<'_>) {
        // What is wrong with a connection is its peer's matter.
        let _ = answer_all(&mut socket).await;
        socket.close();
        let _ = socket.flush().await;
    }
}

/// Answers each request: what ends with an empty line.
async fn answer_all(socket: &mut TcpSocket<'_>) -> Result<(), TcpError> {
    const END: &[u8] = b"\r\n\r\n";
    let length = PAGE.len();
    // The bytes of picoserve's answer.
    let answer = format!(
        "HTTP/1.1 200 \r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: keep-alive\r\n\r\n{PAGE}"
    );
    let (mut buffer, mut filled) = ([0; 1024], 0);
    // A request that does not fit ends the connection.
    while filled < buffer.len() {
        let length = socket.read(&mut buffer[filled..]).await?;
        if length == 0 {
            break;
        }
        filled += length;
        let mut lines = buffer[..filled].windows(END.len());
        while let Some(place) = lines.position(|bytes| bytes == END) {
            socket.write_all(answer.as_bytes()).await?;
            buffer.copy_within(place + END.len()..filled, 0);
            filled -= place + END.len();
            lines = buffer[..filled].windows(END.len());
        }
    }
    Ok(())
}
