//! What the guest reaches: with the argument `reach=ADDRESS:PORT,...` it sends a datagram to each,
//! and opens a connection to it, before it serves. Tests see whether either arrives. Each may take
//! two seconds, or `reach-seconds=COUNT`.

use core::{net::SocketAddrV4, time::Duration};

use dormir::time::with_timeout;
use dormir_guest::{args, println};
use embassy_net::{
    Stack,
    tcp::TcpSocket,
    udp::{PacketMetadata, UdpSocket},
};

/// How many sockets this needs, one after the other.
pub(crate) const SOCKETS: usize = 1;

/// Does so if the argument is there, and tells whether the connections were opened.
pub(crate) async fn try_out(stack: Stack<'static>) {
    let limit = args::value("reach-seconds").unwrap_or("2");
    let limit = Duration::from_secs(limit.parse().expect("it is a number of seconds"));
    for to in args::value("reach")
        .into_iter()
        .flat_map(|all| all.split(','))
    {
        let address = to.parse().expect("it is ADDRESS:PORT");
        // Where there is no route, what was sent waits.
        let _ = with_timeout(limit, send(stack, address)).await;
        match connects(stack, address, limit).await {
            true => println!("reaches {to}"),
            false => println!("does not reach {to}"),
        }
    }
}

async fn connects(stack: Stack<'static>, to: SocketAddrV4, limit: Duration) -> bool {
    let (mut received, mut sent) = ([0; 64], [0; 64]);
    let mut socket = TcpSocket::new(stack, &mut received, &mut sent);
    matches!(with_timeout(limit, socket.connect(to)).await, Ok(Ok(())))
}

async fn send(stack: Stack<'static>, to: SocketAddrV4) {
    let (mut received, mut sent) = ([PacketMetadata::EMPTY], [PacketMetadata::EMPTY]);
    let (mut received_bytes, mut sent_bytes) = ([0; 64], [0; 64]);
    let mut socket = UdpSocket::new(
        stack,
        &mut received,
        &mut received_bytes,
        &mut sent,
        &mut sent_bytes,
    );
    let bound = socket.bind(7777);
    bound.expect("nothing else has the port");
    let _ = socket.send_to(b"datagram", to).await;
    socket.flush().await;
}
