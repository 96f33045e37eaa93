//! A network whose device takes its steps between the polls.

mod hostile;
mod races;
mod threads;

use std::{
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
};

use virtio_drivers::transport::DeviceType;

use super::{
    Flag,
    fake::{FakeInterrupt, FakeTransport, Shared},
    side::{Chain, Side},
};
use crate::{RequestError, net::Net};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
/// MTU, MAC, STATUS, and the transport's.
const FEATURES: u64 = 1 << 3 | 1 << 5 | 1 << 16 | 1 << 32;
const HEADER: usize = 12;

struct Machine {
    shared: Arc<Shared>,
    net: Net<FakeTransport, FakeInterrupt>,
    receive: Side,
    transmit: Side,
    flag: Arc<Flag>,
}

/// The device's configuration: address, status, number of queues, MTU.
fn config(mac: [u8; 6], status: u16, mtu: u16) -> Vec<u8> {
    let numbers = [status, 1, mtu].map(u16::to_le_bytes);
    [&mac[..], numbers.as_flattened()].concat()
}

fn device(features: u64, config: Vec<u8>) -> Arc<Shared> {
    let shared = Shared::new(DeviceType::Network);
    shared.offered.store(features, Ordering::SeqCst);
    *shared.config.lock().unwrap() = config;
    shared
}

fn machine() -> Machine {
    let shared = device(FEATURES, config(MAC, 1, 100));
    Machine {
        net: Net::new(shared.attach()).expect("a good device"),
        receive: Side::new(&shared, 0),
        transmit: Side::new(&shared, 1),
        flag: Flag::new(),
        shared,
    }
}

/// What the device writes: a header that tells nothing, and these bytes.
fn packet(bytes: &[u8]) -> impl FnOnce(&Chain) -> u32 {
    move |chain| chain.write([0; HEADER].into_iter().chain(bytes.iter().copied()))
}

impl Machine {
    fn with<R>(&mut self, f: impl FnOnce(&mut Self, &mut Context<'_>) -> R) -> R {
        self.flag.take();
        let waker = Waker::from(Arc::clone(&self.flag));
        f(self, &mut Context::from_waker(&waker))
    }

    fn received(&mut self) -> Poll<Result<Vec<u8>, RequestError>> {
        self.with(|this, cx| this.net.poll_receive(cx).map_ok(|packet| packet.to_vec()))
    }

    fn send(&mut self, bytes: &[u8]) -> Poll<Result<(), RequestError>> {
        self.with(|this, cx| {
            let room = this.net.poll_transmit(cx);
            room.map_ok(|room| room.send(bytes.len(), |to| to.copy_from_slice(bytes)))
        })
    }

    fn is_up(&mut self) -> bool {
        self.with(|this, cx| this.net.poll_link(cx))
    }

    /// Has the device send a packet, and returns it.
    fn sent(&mut self) -> Option<Vec<u8>> {
        let mut sent = None;
        let wants_interrupt = self.transmit.wants_interrupt();
        self.transmit.serve(|chain| {
            let bytes = chain.read();
            assert_eq!(bytes[..HEADER], [0; HEADER]);
            sent = Some(bytes[HEADER..].to_vec());
            0
        });
        if sent.is_some() && wants_interrupt {
            self.shared.raise(1);
        }
        sent
    }

    fn set_link(&self, up: bool) {
        self.shared.config.lock().unwrap()[6] = up.into();
        self.shared.raise(2);
    }
}

#[test]
fn both_ways() {
    let mut machine = machine();
    assert_eq!((machine.net.mac(), machine.net.mtu()), (MAC, 100));
    assert_eq!(machine.shared.accepted.load(Ordering::SeqCst), FEATURES);
    assert_eq!(machine.received(), Poll::Pending);
    for bytes in [&b"one"[..], b"two", b""] {
        machine.receive.serve(packet(bytes));
    }
    machine.shared.raise(1);
    assert!(machine.flag.take());
    for bytes in [&b"one"[..], b"two", b""] {
        assert_eq!(machine.received(), Poll::Ready(Ok(bytes.to_vec())));
    }
    assert_eq!(machine.received(), Poll::Pending);
    assert_eq!(machine.send(b"answer"), Poll::Ready(Ok(())));
    assert_eq!(machine.send(&[7; 114]), Poll::Ready(Ok(())));
    assert_eq!(machine.sent().as_deref(), Some(&b"answer"[..]));
    assert_eq!(machine.sent(), Some(vec![7; 114]));
    assert_eq!(machine.sent(), None);
}

/// As many as there are buffers come at once, many times over: each buffer goes back.
#[test]
fn all_buffers_are_used_again() {
    let mut machine = machine();
    for round in 0..if cfg!(miri) { 3 } else { 1100 } {
        assert_eq!(machine.received(), Poll::Pending);
        let mut came = 0;
        while machine.receive.serve(packet(&[came as u8, round as u8])) {
            came += 1;
        }
        assert_eq!(came, 64);
        machine.shared.raise(1);
        for number in 0..came {
            let expected = vec![number as u8, round as u8];
            assert_eq!(machine.received(), Poll::Ready(Ok(expected)));
        }
    }
}

#[test]
fn a_full_queue_holds_back() {
    let mut machine = machine();
    let mut next = 0_u8;
    for _ in 0..if cfg!(miri) { 2 } else { 2000 } {
        let first = next;
        while machine.send(&[next]).is_ready() {
            next = next.wrapping_add(1);
        }
        assert_eq!(next.wrapping_sub(first), 64);
        assert!(!machine.flag.take());
        assert_eq!(machine.sent(), Some(vec![first]));
        assert!(machine.flag.take());
        assert_eq!(machine.send(&[next]), Poll::Ready(Ok(())));
        for number in 1..=64 {
            assert_eq!(machine.sent(), Some(vec![first.wrapping_add(number)]));
        }
        next = next.wrapping_add(1);
        // Nobody waits for room.
        assert!(!machine.transmit.wants_interrupt());
    }
}

#[test]
fn the_link_goes_down_and_up() {
    let mut machine = machine();
    assert!(machine.is_up());
    for up in [false, true] {
        machine.set_link(up);
        assert!(machine.flag.take());
        // The poll that takes the interrupt is another one, which tells the task.
        assert_eq!(machine.received(), Poll::Pending);
        assert!(machine.flag.take());
        assert_eq!(machine.is_up(), up);
    }
    let down = device(FEATURES, config(MAC, 0, 1500));
    let mut net = Net::new(down.attach()).expect("a good device");
    assert!(!net.poll_link(&mut Context::from_waker(Waker::noop())));
    // A device that does not tell is connected.
    let quiet = device(1 << 5 | 1 << 32, config(MAC, 0, 7));
    let mut net = Net::new(quiet.attach()).expect("a good device");
    assert_eq!(net.mtu(), 1500);
    assert!(net.poll_link(&mut Context::from_waker(Waker::noop())));
}

/// A poll that was given up does not have the task woken again and again.
#[test]
fn what_waits_no_more_wakes_once() {
    let mut machine = machine();
    assert_eq!(machine.received(), Poll::Pending);
    while machine.send(b"x").is_ready() {}
    machine.receive.serve(packet(b"one"));
    machine.shared.raise(1);
    assert!(machine.sent().is_some());
    // Its poll takes the interrupt, so it wakes what waited.
    assert!(machine.is_up() && machine.flag.take());
    for _ in 0..3 {
        assert!(machine.is_up() && !machine.flag.take());
    }
    assert_eq!(machine.received(), Poll::Ready(Ok(b"one".to_vec())));
}

/// A device that sends without end lets other tasks run.
#[cfg(feature = "embassy-net-driver")]
#[test]
fn a_poll_of_embassy_net_is_bounded() {
    use embassy_net_driver::{Driver, LinkState, RxToken};

    let mut machine = machine();
    let flag = Arc::clone(&machine.flag);
    let waker = Waker::from(Arc::clone(&flag));
    let mut cx = Context::from_waker(&waker);
    for _ in 0..3 {
        assert!(machine.net.link_state(&mut cx) == LinkState::Up);
        flag.take();
        let mut taken = 0;
        loop {
            machine.receive.serve(packet(b"flood"));
            machine.shared.raise(1);
            let Some((received, _)) = machine.net.receive(&mut cx) else {
                break;
            };
            received.consume(|bytes| assert_eq!(bytes, b"flood"));
            taken += 1;
        }
        assert_eq!(taken, 64);
        assert!(flag.take());
    }
}

#[cfg(feature = "embassy-net-driver")]
#[test]
fn the_driver_of_embassy_net() {
    use embassy_net_driver::{Driver, HardwareAddress, LinkState, RxToken, TxToken};

    let mut machine = machine();
    let flag = Arc::clone(&machine.flag);
    let waker = Waker::from(Arc::clone(&flag));
    let mut cx = Context::from_waker(&waker);
    assert_eq!(machine.net.capabilities().max_transmission_unit, 114);
    assert_eq!(
        machine.net.hardware_address(),
        HardwareAddress::Ethernet(MAC)
    );
    // Nothing is sent before the link is told.
    flag.take();
    assert!(machine.net.transmit(&mut cx).is_none() && !flag.take());
    assert!(machine.net.link_state(&mut cx) == LinkState::Up && flag.take());
    assert!(machine.net.link_state(&mut cx) == LinkState::Up && !flag.take());
    assert!(machine.net.transmit(&mut cx).is_some());
    assert!(machine.net.receive(&mut cx).is_none());
    machine.receive.serve(packet(b"ping"));
    machine.shared.raise(1);
    let (received, room) = machine.net.receive(&mut cx).expect("one came");
    let length = received.consume(|bytes| bytes.len());
    room.consume(length, |bytes| bytes.copy_from_slice(b"pong"));
    assert_eq!(machine.sent().as_deref(), Some(&b"pong"[..]));
    // Without room for an answer, what comes waits.
    while let Some(room) = machine.net.transmit(&mut cx) {
        room.consume(1, |bytes| bytes.fill(1));
    }
    machine.receive.serve(packet(b"ping"));
    machine.shared.raise(1);
    assert!(machine.net.receive(&mut cx).is_none());
    assert!(machine.sent().is_some());
    assert!(machine.net.receive(&mut cx).is_some());
    machine.transmit.give_back(99, 0);
    machine.shared.raise(1);
    while machine
        .net
        .transmit(&mut cx)
        .is_some_and(|room| room.consume(1, |_| true))
    {}
    assert!(machine.net.receive(&mut cx).is_none());
    assert!(machine.net.link_state(&mut cx) == LinkState::Down);
}
