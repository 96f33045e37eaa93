//! How much may be under way, in both directions.

use super::*;

/// More than both sides and the kernel's buffers hold.
const MUCH: usize = 2 << 20;

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|place| (place / 251 + place) as u8)
        .collect()
}

fn update(guest: &mut Guest, ports: Ports, taken: u32) {
    let mut header = guest.header(ports, Operation::CreditUpdate);
    header.taken = taken;
    guest.hub.packet_came(&header, &[]);
}

#[test]
fn the_guest_gets_what_it_has_room_for() {
    let mut guest = Guest::new();
    guest.room = 1000;
    let (mut program, ports) = guest.connected(5);
    program.write_all(&pattern(5000)).unwrap();
    guest.expect_data(&pattern(1000));
    // It is asked once.
    guest.expect(Operation::CreditRequest);
    assert_eq!(guest.take(), None);
    update(&mut guest, ports, 300);
    guest.expect_data(&pattern(1300)[1000..]);
    guest.expect(Operation::CreditRequest);
    // Numbers that make no sense let nothing be sent, and do no harm.
    for taken in [0, 299, 1301, u32::MAX] {
        update(&mut guest, ports, taken);
        assert_eq!(guest.take(), None, "{taken}");
    }
    guest.room = u32::MAX;
    update(&mut guest, ports, 1300);
    guest.expect_data(&pattern(5000)[1300..]);
    assert_eq!(guest.take(), None);
}

#[test]
fn the_end_is_told_to_a_guest_without_room() {
    let mut guest = Guest::new();
    guest.room = 0;
    let (program, _) = guest.connected(5);
    assert_eq!(guest.take(), None);
    drop(program);
    assert_eq!(guest.expect(Operation::Shutdown).flags, NEITHER);
}

/// The guest takes little at a time; the program's socket is full meanwhile.
#[test]
fn much_comes_to_a_slow_guest() {
    let mut guest = Guest::new();
    guest.room = 3000;
    let (mut program, ports) = guest.connected(5);
    let writes = std::thread::spawn(move || {
        program.write_all(&pattern(MUCH)).unwrap();
        program
    });
    let mut came = Vec::new();
    while came.len() < MUCH {
        let (header, data) = guest.wait();
        if header.operation() == Some(Operation::Data) {
            assert!(data.len() <= 3000);
            came.extend(data);
            update(&mut guest, ports, came.len() as u32);
        }
    }
    assert!(came == pattern(MUCH));
    drop(writes.join().unwrap());
    assert_eq!(guest.expect(Operation::Shutdown).flags, NEITHER);
}

/// A guest that sends what it may, to a program that reads late.
#[test]
fn much_goes_to_a_slow_program() {
    let mut guest = Guest::new();
    let (program, ports) = guest.connected(5);
    let (mut sent, mut taken, mut came) = (0, 0, Vec::new());
    let all = pattern(MUCH);
    let read = |came: &mut Vec<u8>| {
        let mut bytes = vec![0; 100_000];
        let length = (&program).read(&mut bytes).unwrap();
        came.extend(&bytes[..length]);
    };
    while sent < MUCH {
        let free = ROOM - (sent - taken);
        let piece = free.min(MUCH - sent).min(5000);
        guest.send_data(ports, &all[sent..sent + piece]);
        sent += piece;
        if sent - taken == ROOM {
            // Nothing more fits, so the program begins to read.
            while let Some((header, _)) = guest.take() {
                assert_eq!(header.operation(), Some(Operation::CreditUpdate));
                taken = header.taken as usize;
            }
            if sent - taken == ROOM {
                read(&mut came);
            }
        }
    }
    while came.len() < MUCH {
        guest.take();
        read(&mut came);
    }
    assert!(came == all);
}

#[test]
fn a_guest_that_sends_more_than_it_may_is_reset() {
    let mut guest = Guest::new();
    let (program, ports) = guest.connected(5);
    let mut sent = 0;
    let reset = loop {
        guest.send_data(ports, &[1; 5000]);
        sent += 5000;
        assert!(sent < MUCH, "all is taken");
        // Others tell of the room that the kernel's buffer made.
        if let Some((header, _)) = guest.take()
            && header.operation() == Some(Operation::Reset)
        {
            break header;
        }
    };
    assert_eq!(reset.to_port, 5);
    // What the kernel has is read.
    let rest = rest(&program);
    assert!(!rest.is_empty() && rest.len() < sent);
}

#[test]
fn room_is_told_when_the_guest_asks() {
    let mut guest = Guest::new();
    let (mut program, ports) = guest.connected(5);
    guest.send_data(ports, b"text\n");
    assert_eq!(line(&mut program), "text");
    assert_eq!(guest.take(), None);
    guest.send(ports, Operation::CreditRequest);
    let header = guest.expect(Operation::CreditUpdate);
    assert_eq!((header.room, header.taken), (ROOM as u32, 5));
    // Each packet tells it.
    guest.send_data(ports, b"text\n");
    program.write_all(b"x").unwrap();
    assert_eq!(guest.wait().0.taken, 10);
    assert_eq!(guest.take(), None);
}
