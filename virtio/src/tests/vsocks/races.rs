//! What the device and other tasks do during a poll of the runner, and what wakers do.

use std::{
    cell::RefCell,
    mem::ManuallyDrop,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use embedded_io_async::{Read, Write};

use super::machine::{Machine, Packet, now, op, read};
use crate::{
    tests::{
        Flag,
        fake::Shared,
        poll,
        side::Side,
        steps::{Step, stepping, with_step},
    },
    vsock::{HOST, Stream, Vsock},
};

/// Polls the runner with a step at each place of its poll, once when it has slept before and once
/// when it has not. Then `is_done` must hold, after further polls if the runner is woken for them.
fn at_every_place(
    step: impl Fn(&mut Machine, Stream, Packet) -> (Step, Option<Stream>),
    mut is_done: impl FnMut(&mut Machine, Option<&mut Stream>) -> bool,
) {
    let mut places = 0;
    // Under Miri some of them: it has no orders to find here.
    let numbers = if cfg!(miri) { 4..8 } else { 0..24 };
    for (has_slept, place) in numbers.map(|number| (number % 2 == 0, number / 2)) {
        let mut machine = Machine::new();
        let (stream, request) = machine.connect(1);
        if !has_slept {
            machine.shared.raise(1);
        }
        let (step, mut stream) = step(&mut machine, stream, request);
        let shared = Arc::clone(&machine.shared);
        let flag = Arc::clone(&machine.flag);
        flag.take();
        let runner = &mut machine.runner;
        let (_, is_within) = with_step(&shared, place, step, || {
            let waker = stepping(&flag);
            let mut cx = Context::from_waker(&waker);
            assert!(pin!(runner.run()).poll(&mut cx).is_pending());
        });
        places += usize::from(is_within);
        // As often as it is woken.
        machine.run();
        assert!(
            is_done(&mut machine, stream.as_mut()),
            "place {place}, {has_slept}: the wake is lost"
        );
    }
    let expected = if cfg!(miri) { 1..5 } else { 8..24 };
    assert!(expected.contains(&places), "{places}");
}

#[test]
fn no_wake_of_the_runner_is_lost() {
    // A packet comes.
    at_every_place(
        |machine, stream, request| {
            let mut receive =
                std::mem::replace(&mut machine.receive, Side::new(&machine.shared, 0));
            let step = move || {
                let bytes = request.data(b"packet").bytes();
                receive.serve(|chain| chain.write(bytes));
                receive.shared.raise(1);
            };
            (Box::new(step), Some(stream))
        },
        |_, stream| read(stream.expect("it is kept")).is_ok_and(|bytes| bytes == b"packet"),
    );
    // Another task writes, while the device's interrupts are wanted, and while they are not.
    for wants in [false, true] {
        at_every_place(
            |machine, mut stream, _| {
                let (mut other, _) = machine.connect(2);
                if wants {
                    assert_eq!(now(other.write(b"first")), Ok(5));
                    machine.run();
                    assert!(poll(pin!(other.flush()), &Flag::new()).is_pending());
                    machine.run();
                }
                assert_eq!(machine.transmit.wants_interrupt(), wants);
                let step = move || assert_eq!(now(stream.write(b"packet")), Ok(6));
                (Box::new(step), Some(other))
            },
            |machine, _| {
                let sent = std::iter::from_fn(|| machine.send_next());
                sent.into_iter().any(|packet| packet.data == b"packet")
            },
        );
    }
    // The device sends a packet, of which the queue is full, and the next one takes its place.
    at_every_place(
        |machine, stream, request| {
            let mut transmit =
                std::mem::replace(&mut machine.transmit, Side::new(&machine.shared, 1));
            // The transmit queue has the request, and then this.
            for _ in 0..65 {
                machine.inject(request.answer(op::CREDIT_REQUEST));
            }
            assert_eq!(machine.vsock.sizes(), [1, 1, 0]);
            let step = move || {
                assert!(transmit.serve(|_| 0));
                if transmit.wants_interrupt() {
                    transmit.shared.raise(1);
                }
            };
            (Box::new(step), Some(stream))
        },
        |machine, _| machine.vsock.sizes() == [1, 0, 0],
    );
    // The last packet of a flush: before the runner knows that a task waits for it, and behind.
    for knows in [false, true] {
        at_every_place(
            |machine, mut stream, _| {
                assert_eq!(now(stream.write(b"last")), Ok(4));
                machine.run();
                assert!(poll(pin!(stream.flush()), &Flag::new()).is_pending());
                if knows {
                    machine.run();
                }
                assert_eq!(machine.transmit.wants_interrupt(), knows);
                let mut transmit =
                    std::mem::replace(&mut machine.transmit, Side::new(&machine.shared, 1));
                let step = move || {
                    assert!(transmit.serve(|_| 0));
                    if transmit.wants_interrupt() {
                        transmit.shared.raise(1);
                    }
                };
                (Box::new(step), Some(stream))
            },
            |_, stream| {
                let flush = pin!(stream.expect("it is kept").flush());
                poll(flush, &Flag::new()).is_ready()
            },
        );
    }
}

thread_local! {
    static RAISED: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
}

fn raise() {
    RAISED.with_borrow(|shared| shared.iter().for_each(|shared| shared.raise(1)));
}

/// Interrupts that come faster than they are taken do not keep the runner in its poll, and wake it
/// again.
#[test]
fn interrupts_without_end() {
    let mut machine = Machine::new();
    let (mut stream, request) = machine.connect(1);
    let receive = &mut machine.receive;
    receive.serve(|chain| chain.write(request.data(b"packet").bytes()));
    RAISED.set(Some(Arc::clone(&machine.shared)));
    *machine.shared.hook.lock().unwrap() = Some(raise);
    for _ in 0..10 {
        machine.flag.take();
        assert!(poll(pin!(machine.runner.run()), &machine.flag).is_pending());
        assert!(machine.flag.take());
    }
    assert_eq!(read(&mut stream), Ok(b"packet".to_vec()));
    *machine.shared.hook.lock().unwrap() = None;
    RAISED.set(None);
}

/// A waker that is foreign code: it uses the sockets.
struct Watching(Vsock);

impl Wake for Watching {
    fn wake(self: Arc<Self>) {
        assert!(!self.0.is_locked());
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        assert!(!self.0.is_locked());
    }
}

fn watched<F: Future + ?Sized>(vsock: &Vsock, future: Pin<&mut F>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::new(Watching(vsock.clone())));
    future.poll(&mut Context::from_waker(&waker))
}

/// Wakers are woken and dropped when nothing is locked.
#[test]
fn wakers_may_use_the_sockets() {
    let mut machine = Machine::new();
    let vsock = &machine.vsock.clone();
    let listener = vsock.listen(5000).expect("nobody has it");
    let (mut stream, request) = machine.connect(1);
    let (mut other, _) = machine.connect(1);
    let mut buffer = [0; 8];
    {
        let (mut reader, mut writer) = stream.split();
        let mut read = pin!(reader.read(&mut buffer));
        assert_eq!(now(writer.write(&[1; 64])), Ok(64));
        let mut write = pin!(writer.write(&[1; 64]));
        let mut accept = pin!(listener.accept());
        let mut connect = pin!(vsock.connect(HOST, 2));
        for _ in 0..2 {
            assert!(watched(vsock, read.as_mut()).is_pending());
            assert!(watched(vsock, write.as_mut()).is_pending());
            assert!(watched(vsock, accept.as_mut()).is_pending());
            assert!(watched(vsock, connect.as_mut()).is_pending());
        }
        for _ in 0..2 {
            assert!(watched(vsock, pin!(machine.runner.run())).is_pending());
        }
        machine.inject(request.data(b"text"));
        machine.inject(Packet::new(3, 5000, op::REQUEST));
        assert!(watched(vsock, pin!(machine.runner.run())).is_pending());
        assert!(watched(vsock, read.as_mut()).is_ready());
        assert!(watched(vsock, write.as_mut()).is_ready());
        assert!(watched(vsock, accept.as_mut()).is_ready());
        assert!(watched(vsock, connect.as_mut()).is_pending());
    }
    // Those that wait and are dropped, and those that wait at the end.
    assert!(watched(vsock, pin!(listener.accept())).is_pending());
    assert!(watched(vsock, pin!(other.read(&mut buffer))).is_pending());
    drop(other);
    // Its peer does not answer, and others take its place.
    let crowd: Vec<_> = (0..31).map(|port| machine.start_connect(port)).collect();
    assert!(watched(vsock, pin!(stream.read(&mut buffer))).is_pending());
    assert!(watched(vsock, pin!(machine.runner.run())).is_pending());
    drop((machine, crowd));
    drop(stream);
}

/// Also the waker of a future that was forgotten, when its listener is dropped.
#[test]
fn a_forgotten_accept() {
    let machine = Machine::new();
    let listener = machine.vsock.listen(5000).expect("nobody has it");
    let mut accept = ManuallyDrop::new(listener.accept());
    assert!(watched(&machine.vsock, Pin::new(&mut *accept)).is_pending());
    drop(listener);
}
