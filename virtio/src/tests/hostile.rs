//! Devices that break the protocol.

use std::{
    sync::{Arc, atomic::Ordering},
    task::Poll,
};

use virtio_drivers::transport::DeviceType;

use super::{
    Flag, block_on,
    fake::{FakeInterrupt, FakeTransport, Shared},
    poll,
    side::Side,
};
use crate::{RequestError, SetupError, rng::Rng};

struct Hostile {
    shared: Arc<Shared>,
    rng: Rng<FakeTransport, FakeInterrupt>,
    side: Side,
}

fn hostile() -> Hostile {
    let shared = Shared::new(DeviceType::EntropySource);
    let rng = Rng::new(shared.attach()).expect("it is not hostile yet");
    let side = Side::new(&shared, 0);
    Hostile { shared, rng, side }
}

/// Two requests are in flight when the device does `act`. The device is then broken: both end, and
/// so does the next one, with its buffer.
fn both_end(act: impl Fn(&mut Side), resets: bool) {
    let Hostile {
        shared,
        rng,
        mut side,
    } = hostile();
    let flags = [Flag::new(), Flag::new()];
    let mut requests = flags
        .each_ref()
        .map(|_| Some(Box::pin(rng.request(vec![7; 16].into()))));
    for (request, flag) in requests.iter_mut().zip(&flags) {
        let request = request.as_mut().expect("not yet ended");
        assert!(flag.take() && poll(request.as_mut(), flag).is_pending());
    }
    act(&mut side);
    shared.raise(1);
    while requests.iter().any(Option::is_some) {
        let mut woken = false;
        for (slot, flag) in requests.iter_mut().zip(&flags) {
            let Some(request) = slot.as_mut().filter(|_| flag.take()) else {
                continue;
            };
            woken = true;
            if let Poll::Ready((buffer, result)) = poll(request.as_mut(), flag) {
                // What the device gave back before it broke the protocol is as usual.
                if result == Err(RequestError::Broken) {
                    assert_eq!(buffer.len(), if resets { 16 } else { 0 });
                }
                *slot = None;
            }
        }
        assert!(woken, "a request waits, and nothing wakes it");
    }
    let (buffer, result) = block_on(rng.request(vec![7; 16].into()));
    assert_eq!((buffer.len(), result), (16, Err(RequestError::Broken)));
    assert_eq!(shared.is_reset(), resets);
}

#[test]
fn wrong_tokens() {
    for token in [2, 7, 8, 0xffff, u32::MAX] {
        both_end(|side| assert!(side.give_back(token, 16)), true);
    }
}

#[test]
fn the_same_token_twice() {
    let twice = |side: &mut Side| {
        side.give_back(0, 16);
        side.give_back(0, 16);
    };
    both_end(twice, true);
}

#[test]
fn a_used_index_that_runs_ahead() {
    both_end(|side| side.run_ahead(100), true);
}

#[test]
fn a_device_that_asks_for_a_reset() {
    both_end(|side| side.shared.needs_reset(), true);
}

#[test]
fn a_device_that_resets_itself() {
    both_end(|side| side.shared.resets_itself(), true);
}

/// It interrupts once more while it is told that its first interrupt was seen. The line is high all
/// the time, so there is no second edge.
#[test]
fn a_configuration_that_changes_during_the_acknowledgement() {
    let mut hostile = hostile();
    let flag = Flag::new();
    let mut request = Box::pin(hostile.rng.request(vec![0; 16].into()));
    assert!(flag.take() && poll(request.as_mut(), &flag).is_pending());
    let while_acknowledging = &hostile.shared.while_acknowledging;
    *while_acknowledging.lock().unwrap() = Some(|shared| shared.raise(2));
    hostile.shared.raise(1);
    assert!(flag.take() && poll(request.as_mut(), &flag).is_pending());
    assert!(while_acknowledging.lock().unwrap().is_none());
    hostile.side.serve(|_| 16);
    hostile.shared.raise(1);
    assert!(flag.take(), "the line does not rise again");
    let Poll::Ready((_, written)) = poll(request.as_mut(), &flag) else {
        panic!("it was answered");
    };
    assert_eq!(written, Ok(16));
}

/// Its line never falls, so nothing would ever wake a task again.
#[test]
fn a_line_that_stays_high() {
    let act = |side: &mut Side| side.shared.stays_raised.store(true, Ordering::SeqCst);
    both_end(act, true);
    let shared = Shared::new(DeviceType::EntropySource);
    shared.stays_raised.store(true, Ordering::SeqCst);
    shared.raise(1);
    assert_eq!(Rng::new(shared.attach()).err(), Some(SetupError::NoReset));
}

#[test]
#[cfg_attr(miri, ignore = "leaks what the device may still access")]
fn a_device_that_does_not_reset() {
    let act = |side: &mut Side| {
        side.shared.ignores_reset.store(true, Ordering::SeqCst);
        side.give_back(99, 16);
    };
    both_end(act, false);
}

/// Gives up a request that the device never answers, and drops the driver. Returns how many
/// allocations are left.
fn left_of_an_unanswered_request(ignores_reset: bool) -> i64 {
    let flag = Flag::new();
    let allocations = allocation_counter::measure(|| {
        let Hostile { shared, rng, side } = hostile();
        shared.ignores_reset.store(ignores_reset, Ordering::SeqCst);
        let mut request = Box::pin(rng.request(vec![7; 16].into()));
        assert!(poll(request.as_mut(), &flag).is_pending());
        assert!(side.has_request());
        drop(request);
        assert_eq!(rng.in_flight(), 1);
        drop(rng);
        assert_eq!(shared.is_reset(), !ignores_reset);
    });
    assert_eq!(Arc::strong_count(&flag), 1, "its waker is left");
    allocations.count_current
}

#[test]
fn a_device_that_never_answers() {
    assert_eq!(left_of_an_unanswered_request(false), 0);
}

/// It may still write to the buffer.
#[test]
#[cfg_attr(miri, ignore = "leaks what the device may still access")]
fn a_device_that_never_answers_nor_resets() {
    assert!(left_of_an_unanswered_request(true) > 0);
}

/// An answer that was not taken, and its interrupt, concern no driver that is made later.
#[test]
fn an_answer_from_before_a_reset() {
    let Hostile {
        shared,
        rng,
        mut side,
    } = hostile();
    let flag = Flag::new();
    let mut request = Box::pin(rng.request(vec![7; 16].into()));
    assert!(poll(request.as_mut(), &flag).is_pending());
    assert!(side.serve(|_| 16));
    shared.raise(1);
    drop(request);
    drop(rng);
    let rng = Rng::new(shared.attach()).expect("it was reset");
    let mut side = Side::new(&shared, 0);
    let mut request = Box::pin(rng.request(vec![7; 8].into()));
    assert!(poll(request.as_mut(), &flag).is_pending());
    shared.raise(1);
    assert!(poll(request.as_mut(), &flag).is_pending());
    assert!(side.serve(|_| 8));
    shared.raise(1);
    assert_eq!(block_on(request).1, Ok(8));
}

#[test]
fn wrong_lengths() {
    for (length, expected) in [
        (0, Err(RequestError::WrongAnswer)),
        (1, Ok(1)),
        (16, Ok(16)),
        (17, Err(RequestError::WrongAnswer)),
        (u32::MAX, Err(RequestError::WrongAnswer)),
    ] {
        let mut hostile = hostile();
        let flag = Flag::new();
        let mut request = Box::pin(hostile.rng.request(vec![0; 16].into()));
        assert!(poll(request.as_mut(), &flag).is_pending());
        hostile.side.serve(|_| length);
        hostile.shared.raise(1);
        let (buffer, written) = block_on(request);
        assert_eq!((buffer.len(), written), (16, expected));
        // Others are still served.
        let mut request = Box::pin(hostile.rng.request(vec![0; 16].into()));
        assert!(poll(request.as_mut(), &flag).is_pending());
        hostile.side.serve(|_| 16);
        hostile.shared.raise(1);
        assert_eq!(block_on(request).1, Ok(16));
    }
}

#[test]
fn empty_buffers_are_refused() {
    let hostile = hostile();
    let (_, written) = block_on(hostile.rng.request(Box::default()));
    assert_eq!(written, Err(RequestError::Length));
    assert_eq!(hostile.shared.kicks.load(Ordering::SeqCst), 0);
}

#[test]
fn refused_devices() {
    let disk = Shared::new(DeviceType::Block);
    assert_eq!(Rng::new(disk.attach()).err(), Some(SetupError::WrongType));
    let legacy = Shared::new(DeviceType::EntropySource);
    legacy.offered.store(0, Ordering::SeqCst);
    assert_eq!(Rng::new(legacy.attach()).err(), Some(SetupError::Legacy));
    let without_queue = Shared::new(DeviceType::EntropySource);
    without_queue.refuses_queues.store(true, Ordering::SeqCst);
    let refused = Rng::new(without_queue.attach()).err();
    assert_eq!(refused, Some(SetupError::Queue));
    let good = Shared::new(DeviceType::EntropySource);
    let rng = Rng::new(good.attach()).expect("it is good");
    assert_eq!(good.accepted.load(Ordering::SeqCst), 1 << 32);
    good.ignores_reset.store(true, Ordering::SeqCst);
    assert_eq!(Rng::new(good.attach()).err(), Some(SetupError::NoReset));
    good.ignores_reset.store(false, Ordering::SeqCst);
    drop(rng);
}
