//! Networks whose devices break the protocol.

use std::task::{Context, Poll, Waker};

use super::{FEATURES, MAC, Machine, Side, config, device, machine, packet};
use crate::{RequestError, SetupError, net::Net};

/// After a device has broken the protocol, nothing works, and what came before is still taken.
fn is_broken(mut machine: Machine) {
    machine.shared.raise(1);
    let mut last = machine.received();
    while matches!(last, Poll::Ready(Ok(_))) {
        last = machine.received();
    }
    assert_eq!(last, Poll::Ready(Err(RequestError::Broken)));
    assert_eq!(
        machine.send(b"packet"),
        Poll::Ready(Err(RequestError::Broken))
    );
    assert!(!machine.is_up());
    assert!(machine.shared.is_reset());
}

#[test]
fn hostile_devices() {
    for length in [0, 11, 12 + 14 + 101, u32::MAX] {
        let mut machine = machine();
        machine.receive.serve(packet(b"good"));
        machine.receive.serve(|_| length);
        is_broken(machine);
    }
    for token in [64, 0xffff, u32::MAX] {
        for queue in [0, 1] {
            let mut machine = machine();
            assert!(machine.send(b"packet").is_ready());
            Side::new(&machine.shared, queue).give_back(token, 20);
            is_broken(machine);
        }
    }
    let mut twice = machine();
    twice.receive.give_back(0, 12);
    twice.receive.give_back(0, 12);
    is_broken(twice);
    let mut ahead = machine();
    ahead.transmit.run_ahead(100);
    is_broken(ahead);
    let asks = machine();
    asks.shared.needs_reset();
    is_broken(asks);
}

/// Packets that the task holds while the device breaks the protocol.
#[test]
fn packets_outlive_a_broken_device() {
    let mut machine = machine();
    machine.receive.serve(packet(b"held"));
    machine.shared.raise(1);
    let waker = Waker::noop();
    let mut cx = Context::from_waker(waker);
    let Poll::Ready(Ok(held)) = machine.net.poll_receive(&mut cx) else {
        panic!("one came");
    };
    machine.receive.give_back(99, 0);
    machine.shared.raise(1);
    assert_eq!(*held, *b"held");
    drop(held);
    is_broken(machine);
}

/// The driver ends while packets are in flight both ways: it resets the device first.
#[test]
fn dropped_in_flight() {
    let mut machine = machine();
    while machine.send(b"packet").is_ready() {}
    machine.receive.serve(packet(b"one"));
    let Machine { net, shared, .. } = machine;
    drop(net);
    assert!(shared.is_reset());
}

#[test]
fn refused_devices() {
    for (features, config, error) in [
        (
            FEATURES & !(1 << 5),
            config(MAC, 1, 1500),
            SetupError::Features,
        ),
        (FEATURES, config([0; 6], 1, 1500), SetupError::Configuration),
        (FEATURES, config([3; 6], 1, 1500), SetupError::Configuration),
        (FEATURES, config(MAC, 1, 67), SetupError::Configuration),
        (FEATURES, vec![2; 5], SetupError::Configuration),
        (FEATURES, vec![2; 11], SetupError::Configuration),
    ] {
        let device = device(features, config);
        assert_eq!(Net::new(device.attach()).err(), Some(error));
        assert!(device.is_reset());
    }
    let large = device(FEATURES, config(MAC, 1, u16::MAX));
    let net = Net::new(large.attach()).expect("a good device");
    assert_eq!(net.mtu(), u16::MAX);
}
