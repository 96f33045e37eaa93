//! What the device does during a poll.

use std::sync::{Arc, atomic::Ordering};

use super::{Machine, Side, machine, packet};
use crate::tests::steps::{Step, with_step};

/// Polls with the device's step at each place of the poll. Then the answer is there, or the task is
/// woken and the next poll has it.
fn at_every_place(
    prepare: impl Fn(&mut Machine),
    step: impl Fn(Machine) -> (Machine, Step),
    mut poll: impl FnMut(&mut Machine) -> bool,
) {
    let mut places = 0;
    // In the first poll, no interrupt wakes the task yet.
    for (is_first, place) in (0..16).map(|number| (number % 2 == 0, number / 2)) {
        let mut machine = machine();
        prepare(&mut machine);
        assert!(is_first || !poll(&mut machine));
        let (mut machine, step) = step(machine);
        let shared = Arc::clone(&machine.shared);
        let (mut is_ready, is_within) = with_step(&shared, place, step, || poll(&mut machine));
        places += usize::from(is_within);
        while !is_ready {
            assert!(
                machine.flag.take(),
                "place {place}, {is_first}: the wake is lost"
            );
            is_ready = poll(&mut machine);
        }
    }
    assert!((4..16).contains(&places), "{places}");
}

#[test]
fn no_wake_is_lost() {
    let receive = |mut machine: Machine| {
        let side = std::mem::replace(&mut machine.receive, Side::new(&machine.shared, 0));
        (machine, come(side))
    };
    at_every_place(|_| {}, receive, |machine| machine.received().is_ready());
    // In the order of embassy-net, whose poll for the link takes the interrupt.
    at_every_place(
        |_| {},
        receive,
        |machine| {
            let is_ready = machine.received().is_ready();
            let woken = machine.flag.take();
            machine.is_up();
            machine.flag.woken.fetch_or(woken, Ordering::SeqCst);
            is_ready
        },
    );
    at_every_place(
        |machine| while machine.send(b"packet").is_ready() {},
        |mut machine| {
            let side = std::mem::replace(&mut machine.transmit, Side::new(&machine.shared, 1));
            (machine, go(side))
        },
        |machine| machine.send(b"last").is_ready(),
    );
    let link = |machine: Machine| {
        let shared = Arc::clone(&machine.shared);
        let down = move || {
            shared.config.lock().unwrap()[6] = 0;
            shared.raise(2);
        };
        let down: Step = Box::new(down);
        (machine, down)
    };
    at_every_place(|_| {}, link, |machine| !machine.is_up());
}

/// The device's step: a packet comes.
fn come(mut side: Side) -> Step {
    Box::new(move || {
        side.serve(packet(b"packet"));
        side.shared.raise(1);
    })
}

/// The device's step: it has sent a packet.
fn go(mut side: Side) -> Step {
    Box::new(move || {
        side.serve(|_| 0);
        if side.wants_interrupt() {
            side.shared.raise(1);
        }
    })
}
