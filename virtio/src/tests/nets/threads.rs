//! A network whose device is a thread. Run this under Miri.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use super::{FEATURES, MAC, Shared, Side, config, device, packet};
use crate::{
    net::Net,
    tests::{LIMIT, block_on},
};

const PACKETS: usize = if cfg!(miri) { 150 } else { 50_000 };

/// Sends each packet back, until the device is reset after having been used. Interrupts only where
/// the driver wants them.
fn reflect(shared: &Arc<Shared>) {
    let (mut receive, mut transmit) = (Side::new(shared, 0), Side::new(shared, 1));
    *shared.device.lock().unwrap() = Some(thread::current());
    let (mut is_used, mut last_kick) = (false, Instant::now());
    while !is_used || !shared.is_reset() {
        if !shared.kicked.swap(false, Ordering::SeqCst) {
            assert!(last_kick.elapsed() < LIMIT, "the driver has gone");
            thread::park_timeout(Duration::from_millis(1));
            continue;
        }
        last_kick = Instant::now();
        while receive.has_request() && transmit.has_request() {
            is_used = true;
            let mut sent = Vec::new();
            transmit.serve(|chain| {
                sent = chain.read().split_off(super::HEADER);
                0
            });
            receive.serve(packet(&sent));
            fence(Ordering::SeqCst);
            if transmit.wants_interrupt() || receive.wants_interrupt() {
                shared.raise(1);
            }
        }
    }
}

/// One task sends as fast as there is room, and takes what comes back, in order.
#[test]
fn packets_come_back() {
    let shared = device(FEATURES, config(MAC, 1, 100));
    let mut net = Net::new(shared.attach()).expect("a good device");
    let thread = thread::spawn({
        let shared = Arc::clone(&shared);
        move || reflect(&shared)
    });
    let (mut sent, mut came) = (0_usize, 0_usize);
    block_on(poll_fn(|cx| {
        loop {
            let before = (sent, came);
            if sent < PACKETS
                && let Poll::Ready(room) = net.poll_transmit(cx)
            {
                let room = room.expect("a good device");
                room.send(8, |bytes| bytes.copy_from_slice(&sent.to_le_bytes()));
                sent += 1;
            }
            if let Poll::Ready(packet) = net.poll_receive(cx) {
                assert_eq!(*packet.expect("a good device"), came.to_le_bytes());
                came += 1;
            }
            if came == PACKETS {
                return Poll::Ready(());
            }
            if before == (sent, came) {
                return Poll::Pending;
            }
        }
    }));
    drop(net);
    thread.join().expect("it does not panic");
}
