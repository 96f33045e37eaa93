//! How connections end.

use std::{pin::pin, task::Poll};

use embedded_io_async::{Error, ErrorKind, Read, Write};

use super::machine::{CID, Machine, Packet, now, op, read};
use crate::{
    RequestError,
    tests::{Flag, poll},
    vsock::{ConnectError, HOST, StreamError},
};

/// Flags of a shutdown.
const RECEIVE: u32 = 1;
const SEND: u32 = 2;

#[test]
fn this_side_ends_its_half() {
    let mut machine = Machine::new();
    let (mut stream, request) = machine.connect(1);
    assert_eq!(now(stream.write(&[1; 40])), Ok(40));
    stream.shutdown();
    assert_eq!(now(stream.write(b"more")), Err(StreamError::Closed));
    assert_eq!(StreamError::Closed.kind(), ErrorKind::BrokenPipe);
    // Not before all was sent.
    let ops: Vec<_> = machine.sent().iter().map(|packet| packet.op).collect();
    assert_eq!(ops, [op::DATA, op::CREDIT_REQUEST]);
    machine.inject(Packet {
        forwarded: 32,
        ..request.answer(op::CREDIT_UPDATE)
    });
    let sent = machine.sent();
    assert_eq!((sent[0].op, sent[0].data.len()), (op::DATA, 8));
    assert_eq!((sent[1].op, sent[1].flags), (op::SHUTDOWN, SEND));
    assert_eq!(sent.len(), 2);
    // The device need not tell what it has sent before this.
    assert!(poll(pin!(stream.flush()), &Flag::new()).is_pending());
    machine.run();
    assert_eq!(now(stream.flush()), Ok(()));
    // The other half goes on.
    machine.inject(request.data(b"answer"));
    assert_eq!(read(&mut stream), Ok(b"answer".to_vec()));
    machine.inject(request.shutdown(SEND));
    assert_eq!(read(&mut stream), Ok(Vec::new()));
    assert_eq!(machine.sent(), []);
    drop(stream);
    let end = machine.sent_one();
    assert_eq!((end.op, end.flags), (op::SHUTDOWN, RECEIVE | SEND));
    machine.inject(request.answer(op::RESET));
    assert_eq!(machine.sent(), []);
    assert_eq!(machine.vsock.sizes(), [0; 3]);
}

#[test]
fn the_peer_ends_its_half() {
    let mut machine = Machine::new();
    let (mut stream, request) = machine.connect(1);
    let flag = Flag::new();
    machine.inject(request.data(b"last"));
    assert_eq!(read(&mut stream), Ok(b"last".to_vec()));
    {
        let mut buffer = [0; 8];
        let mut read = pin!(stream.read(&mut buffer));
        assert!(poll(read.as_mut(), &flag).is_pending());
        flag.take();
        machine.inject(request.shutdown(SEND));
        assert!(flag.take());
        assert_eq!(poll(read.as_mut(), &flag), Poll::Ready(Ok(0)));
    }
    assert_eq!(now(stream.write(b"answer")), Ok(6));
    assert_eq!(machine.sent_one().data, b"answer");
    // Then it ends all.
    machine.inject(request.shutdown(RECEIVE));
    assert_eq!(machine.sent_one().op, op::RESET);
    assert_eq!(now(stream.write(b"more")), Err(StreamError::Closed));
    assert_eq!(read(&mut stream), Ok(Vec::new()));
    drop(stream);
    assert_eq!(machine.sent(), []);
    assert_eq!(machine.vsock.sizes(), [0; 3]);
}

#[test]
fn the_peer_receives_no_more() {
    let mut machine = Machine::new();
    let (mut stream, request) = machine.connect(1);
    let flag = Flag::new();
    assert_eq!(now(stream.write(&[1; 64])), Ok(64));
    machine.sent();
    {
        let mut flush = pin!(stream.flush());
        assert!(poll(flush.as_mut(), &flag).is_pending());
        flag.take();
        machine.inject(request.shutdown(RECEIVE));
        assert!(flag.take());
        let closed = Poll::Ready(Err(StreamError::Closed));
        assert_eq!(poll(flush.as_mut(), &flag), closed);
    }
    assert_eq!(now(stream.write(b"more")), Err(StreamError::Closed));
    machine.inject(request.data(b"still"));
    assert_eq!(read(&mut stream), Ok(b"still".to_vec()));
    // What nobody receives does not hold back the end.
    drop(stream);
    let ends = machine.sent();
    assert_eq!(ends.len(), 1, "{ends:?}");
    assert_eq!((ends[0].op, ends[0].flags), (op::SHUTDOWN, RECEIVE | SEND));
}

/// What came before a reset is read; then there is an error, as there is for what waits.
#[test]
fn the_peer_resets() {
    let mut machine = Machine::new();
    let (mut stream, request) = machine.connect(1);
    let flag = Flag::new();
    machine.inject(request.data(b"some"));
    assert_eq!(now(stream.write(&[1; 64])), Ok(64));
    {
        let mut write = pin!(stream.write(b"more"));
        assert!(poll(write.as_mut(), &flag).is_pending());
        flag.take();
        machine.inject(request.answer(op::RESET));
        assert!(flag.take());
        let reset = Poll::Ready(Err(StreamError::Reset));
        assert_eq!(poll(write.as_mut(), &flag), reset);
    }
    assert_eq!(read(&mut stream), Ok(b"some".to_vec()));
    assert_eq!(read(&mut stream), Err(StreamError::Reset));
    assert_eq!(now(stream.flush()), Err(StreamError::Reset));
    assert_eq!(StreamError::Reset.kind(), ErrorKind::ConnectionReset);
    drop(stream);
    // Nothing of all this is answered, and what was to be sent is not.
    assert_eq!(machine.sent(), []);
    assert_eq!(machine.vsock.sizes(), [0; 3]);
}

/// What was written is sent before the end, also when there is no stream any more.
#[test]
fn a_stream_is_dropped() {
    let mut machine = Machine::new();
    let (mut stream, request) = machine.connect(1);
    machine.inject(request.data(&[7; 64]));
    assert_eq!(now(stream.write(&[1; 40])), Ok(40));
    drop(stream);
    let ops: Vec<_> = machine.sent().iter().map(|packet| packet.op).collect();
    // What was not read makes room.
    assert_eq!(ops, [op::CREDIT_UPDATE, op::DATA, op::CREDIT_REQUEST]);
    // The peer sends on, which nobody reads.
    machine.inject(request.data(&[7; 64]));
    let update = machine.sent_one();
    assert_eq!((update.op, update.forwarded), (op::CREDIT_UPDATE, 128));
    machine.inject(Packet {
        forwarded: 32,
        ..request.data(&[7; 64])
    });
    let ops: Vec<_> = machine.sent().iter().map(|packet| packet.op).collect();
    assert_eq!(ops, [op::CREDIT_UPDATE, op::DATA, op::SHUTDOWN]);
    // Now the peer knows that nobody reads.
    machine.inject(request.data(&[7; 64]));
    assert_eq!(machine.sent(), []);
    machine.inject(request.answer(op::RESET));
    assert_eq!(machine.vsock.sizes(), [0; 3]);
}

/// Both ends at once: each confirms the other's.
#[test]
fn both_sides_end_at_once() {
    let mut machine = Machine::new();
    let (stream, request) = machine.connect(1);
    drop(stream);
    assert_eq!(machine.sent_one().op, op::SHUTDOWN);
    machine.inject(request.shutdown(RECEIVE | SEND));
    assert_eq!(machine.sent_one().op, op::RESET);
    machine.inject(request.answer(op::RESET));
    assert_eq!(machine.sent(), []);
    assert_eq!(machine.vsock.sizes(), [0; 3]);
}

/// The machine was moved: no connection is left, and there are no resets.
#[test]
fn the_transport_is_reset() {
    let mut machine = Machine::new();
    let listener = machine.vsock.listen(5000).expect("nobody has it");
    let (mut stream, _) = machine.connect(1);
    let connecting = machine.start_connect(2);
    machine.inject(Packet::new(8, 5000, op::REQUEST));
    assert_eq!(machine.sent().len(), 2);
    assert_eq!(now(stream.write(b"lost")), Ok(4));
    machine.shared.config.lock().unwrap()[0] = CID as u8 + 1;
    assert!(machine.events.serve(|chain| chain.write([0; 4])));
    machine.shared.raise(1);
    assert_eq!(machine.sent(), []);
    assert_eq!(read(&mut stream), Err(StreamError::Reset));
    assert_eq!(now(connecting).err(), Some(ConnectError::Refused));
    drop(stream);
    assert_eq!(machine.vsock.sizes()[0], 0);
    // It goes on under its new number.
    assert_eq!(machine.vsock.cid(), CID + 1);
    let request = Packet {
        local_cid: u64::from(CID) + 1,
        ..Packet::new(8, 5000, op::REQUEST)
    };
    machine.inject(request);
    let response = machine.sent_one();
    assert_eq!(response.op, op::RESPONSE);
    assert_eq!(
        (response.local_cid, response.peer_cid),
        (u64::from(CID) + 1, u64::from(HOST))
    );
    assert!(now(listener.accept()).is_ok());
    // There are buffers for as many events as there may be.
    for _ in 0..9 {
        assert!(machine.events.serve(|chain| chain.write([9; 4])));
        machine.shared.raise(1);
        machine.run();
    }
}

/// The peer has all and closes, before the device tells that it has sent the last packet.
#[test]
fn a_flush_outlives_the_end() {
    for end in [op::SHUTDOWN, op::RESET] {
        let mut machine = Machine::new();
        let (mut stream, request) = machine.connect(1);
        assert_eq!(now(stream.write(b"answer")), Ok(6));
        stream.shutdown();
        machine.inject(request.shutdown(SEND));
        machine.inject(Packet {
            flags: RECEIVE | SEND,
            ..request.answer(end)
        });
        let flag = Flag::new();
        let mut flush = pin!(stream.flush());
        assert!(poll(flush.as_mut(), &flag).is_pending());
        flag.take();
        let ops: Vec<_> = machine.sent().iter().map(|packet| packet.op).collect();
        assert_eq!(ops[..2], [op::DATA, op::SHUTDOWN]);
        assert!(flag.take());
        assert_eq!(poll(flush.as_mut(), &flag), Poll::Ready(Ok(())));
    }
}

/// As above, but the runner stops, so nobody learns that the device has sent the last packet.
#[test]
fn a_flush_ends_with_the_runner() {
    for is_dropped in [false, true] {
        let mut machine = Machine::new();
        let (mut stream, request) = machine.connect(1);
        assert_eq!(now(stream.write(b"answer")), Ok(6));
        machine.inject(request.data(b"bye"));
        machine.inject(request.shutdown(RECEIVE | SEND));
        let flag = Flag::new();
        {
            let mut flush = pin!(stream.flush());
            assert!(poll(flush.as_mut(), &flag).is_pending());
            flag.take();
            if is_dropped {
                drop(machine.runner);
            } else {
                machine.receive.run_ahead(100);
                machine.shared.raise(1);
                assert_eq!(machine.run(), Some(RequestError::Broken));
            }
            assert!(flag.take(), "the flush is woken");
            let stopped = Poll::Ready(Err(StreamError::Stopped));
            assert_eq!(poll(flush.as_mut(), &flag), stopped);
        }
        assert_eq!(now(stream.flush()), Err(StreamError::Stopped));
        // What came is still read, to the end.
        assert_eq!(read(&mut stream), Ok(b"bye".to_vec()));
        assert_eq!(read(&mut stream), Ok(Vec::new()));
        drop(stream);
        assert_eq!(machine.vsock.sizes(), [0; 3]);
    }
}
