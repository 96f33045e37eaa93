//! How connections end.

use std::net::Shutdown;

use super::*;
use crate::vmm::kvm::virtio::tests::{LIMIT, ends};

#[test]
fn a_guest_that_refuses_ends_the_programs_connection() {
    let mut guest = Guest::new();
    let (program, ports) = guest.asks(5);
    guest.send(ports, Operation::Reset);
    assert_eq!(rest(&program), b"");
    assert_eq!(guest.take(), None);
}

#[test]
fn a_program_that_sends_no_more_can_still_read() {
    let mut guest = Guest::new();
    let (mut program, ports) = guest.connected(5);
    program.write_all(b"last words").unwrap();
    program.shutdown(Shutdown::Write).unwrap();
    guest.expect_data(b"last words");
    assert_eq!(guest.expect(Operation::Shutdown).flags, NO_SEND);
    guest.send_data(ports, b"an answer\n");
    assert_eq!(line(&mut program), "an answer");
    guest.shut(ports, NEITHER);
    guest.expect(Operation::Reset);
    assert_eq!(rest(&program), b"");
    assert_eq!(guest.take(), None);
}

#[test]
fn a_guest_that_sends_no_more_can_still_read() {
    let mut guest = Guest::new();
    let (mut program, ports) = guest.connected(5);
    guest.send_data(ports, b"last words");
    guest.shut(ports, NO_SEND);
    assert_eq!(rest(&program), b"last words");
    program.write_all(b"an answer").unwrap();
    guest.expect_data(b"an answer");
    // Each has ended its direction, which is the end.
    program.shutdown(Shutdown::Write).unwrap();
    let flags = guest.expect(Operation::Shutdown).flags;
    if flags == NO_SEND {
        assert_eq!(guest.expect(Operation::Shutdown).flags, NEITHER);
    }
    guest.send(ports, Operation::Reset);
    assert_eq!(guest.take(), None);
}

#[test]
fn a_side_that_receives_no_more_is_sent_no_more() {
    let mut guest = Guest::new();
    let (mut program, ports) = guest.connected(5);
    guest.shut(ports, NO_RECEIVE);
    let error = program.write_all(b"too late").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    guest.send_data(ports, b"text\n");
    assert_eq!(line(&mut program), "text");
    program.shutdown(Shutdown::Read).unwrap();
    // It is seen at the next packet, or before.
    guest.send_data(ports, b"text");
    assert_eq!(
        guest.expect(Operation::Shutdown).flags & NO_RECEIVE,
        NO_RECEIVE
    );
    // What is under way meanwhile has nobody who reads it, and counts as read.
    guest.send(ports, Operation::CreditRequest);
    while guest.expect(Operation::CreditUpdate).taken != 9 {}
}

/// Sends to a program that does not read, until nothing more fits. Returns how much was sent.
fn fill(guest: &mut Guest, ports: Ports) -> usize {
    let (mut sent, mut taken) = (0, 0);
    while sent - taken < ROOM {
        guest.send_data(ports, &vec![1; ROOM - (sent - taken)]);
        sent += ROOM - (sent - taken);
        while let Some((header, _)) = guest.take() {
            assert_eq!(header.operation(), Some(Operation::CreditUpdate));
            taken = header.taken as usize;
        }
    }
    sent
}

/// What the guest has sent before it ends a connection is read, however late.
#[test]
fn what_was_sent_before_the_end_is_read() {
    for reset in [false, true] {
        let mut guest = Guest::new();
        let (program, ports) = guest.connected(5);
        let sent = fill(&mut guest, ports);
        match reset {
            true => guest.send(ports, Operation::Reset),
            false => {
                guest.shut(ports, NEITHER);
                guest.expect(Operation::Reset);
            }
        }
        // The guest has the ports again.
        guest.send(ports, Operation::CreditRequest);
        guest.expect(Operation::Reset);
        let reads = std::thread::spawn(move || rest(&program));
        while !reads.is_finished() {
            guest.has_news(Duration::from_millis(10));
            assert_eq!(guest.take(), None);
        }
        assert!(reads.join().unwrap() == vec![1; sent]);
    }
}

/// So is what it has sent before the run, or the driver, ends.
#[test]
fn the_end_of_the_run_waits_for_slow_programs() {
    let ways: [fn(&mut Guest, Ports); 3] = [
        |_, _| {},
        |guest, ports| guest.send(ports, Operation::Reset),
        |guest, _| guest.hub.clear(),
    ];
    for (number, end) in ways.into_iter().enumerate() {
        let mut guest = Guest::new();
        let (program, ports) = guest.connected(5);
        let sent = fill(&mut guest, ports);
        end(&mut guest, ports);
        let end = std::thread::spawn(move || drop(guest));
        let came = rest(&program);
        assert!(came == vec![1; sent], "{number}: {} of {sent}", came.len());
        end.join().unwrap();
    }
    // Programs that do not read are not waited for, one after the other.
    let mut guest = Guest::new();
    let programs: Vec<_> = (0..100).map(|_| guest.connected(5)).collect();
    for (_, ports) in &programs {
        fill(&mut guest, *ports);
    }
    ends(move || drop(guest));
}

/// A program that writes to a connection that the guest has ended is told, and still reads the
/// rest.
#[test]
fn who_writes_after_the_end_is_told() {
    let mut guest = Guest::new();
    let (mut program, ports) = guest.connected(5);
    let sent = fill(&mut guest, ports);
    guest.send(ports, Operation::Reset);
    program.set_write_timeout(Some(LIMIT)).unwrap();
    // More than the kernel holds.
    let error = program.write_all(&[1; 4 << 20]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    let reads = std::thread::spawn(move || rest(&program));
    while !reads.is_finished() {
        guest.has_news(Duration::from_millis(10));
        assert_eq!(guest.take(), None);
    }
    assert_eq!(reads.join().unwrap().len(), sent);
}

#[test]
fn a_program_that_goes_away_in_the_middle_ends_its_connection() {
    let mut guest = Guest::new();
    let (mut program, ports) = guest.connected(5);
    program.write_all(&[1; 10_000]).unwrap();
    guest.expect_data(&[1; 4096]);
    // It has not read this, so the kernel resets the rest.
    guest.send_data(ports, b"text");
    drop(program);
    while guest.wait().0.operation() == Some(Operation::Data) {}
    guest.send(ports, Operation::Reset);
    assert_eq!(guest.take(), None);
}

#[test]
fn a_side_that_does_not_answer_is_given_up() {
    let mut guest = Guest::with_patience(Duration::from_millis(30));
    // A program that says nothing, or half a line.
    let silent = guest.visitor();
    let mut half = guest.visitor();
    half.write_all(b"CONNE").unwrap();
    guest.settle();
    while guest.has_news(Duration::from_millis(100)) {
        assert_eq!(guest.take(), None);
    }
    assert_eq!((rest(&silent), rest(&half)), (vec![], vec![]));
    // Enough for what is answered below.
    let mut guest = Guest::with_patience(Duration::from_secs(2));
    // An open connection may be silent.
    let (mut open, _) = guest.connected(5);
    // A guest that does not accept.
    let (program, unaccepted) = guest.asks(5);
    // A guest that does not confirm the end.
    let (ended, unconfirmed) = guest.connected(5);
    drop(ended);
    assert_eq!(guest.expect(Operation::Shutdown).flags, NEITHER);
    let mut given_up = [0; 2].map(|_| guest.expect(Operation::Reset).from_port);
    given_up.sort_unstable();
    assert_eq!(given_up, [unaccepted.host, unconfirmed.host]);
    assert_eq!(rest(&program), b"");
    open.write_all(b"still there").unwrap();
    guest.expect_data(b"still there");
}

#[test]
fn a_reset_of_the_device_ends_all() {
    let mut guest = Guest::new();
    let listener = guest.serves(7);
    let (one, _) = guest.connected(5);
    let (two, _) = guest.asks(6);
    let three = guest.visitor();
    guest.send(OUT, Operation::Request);
    assert_eq!(guest.wait().0.operation(), Some(Operation::Response));
    let (four, _) = listener.accept().unwrap();
    guest.hub.clear();
    for program in [&one, &two, &three, &four] {
        assert_eq!(rest(program), b"");
    }
    assert_eq!(guest.take(), None);
    guest.connected(5);
}
