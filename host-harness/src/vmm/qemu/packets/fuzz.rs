//! Properties of the requests that pass to QEMU, whatever a debugger sends.

use super::{MAX_LENGTH, Request, Requests};

/// Reads any bytes as a debugger's.
///
/// # Panics
///
/// Panics if a property does not hold: QEMU, as it reads what passes, gets whole packets with sound
/// checksums, exactly those that are thought to pass, and none of its own commands.
pub(crate) fn fuzz_packets(bytes: &[u8]) {
    let mut requests = Requests::default();
    let (mut passed, mut packets) = (Vec::new(), 0);
    for byte in bytes {
        match requests.push(*byte) {
            Ok(Some(Request::Pass(bytes))) => {
                packets += usize::from(bytes.starts_with(b"$"));
                passed.extend(bytes);
            }
            Ok(None | Some(Request::Detach | Request::Refuse(_))) => {}
            Err(_) => break,
        }
    }
    let seen = as_qemu(&passed);
    assert_eq!(seen.len(), packets);
    for body in seen {
        assert!(!body.starts_with(b"qRcmd"), "{body:?}");
        // It is detached in another way.
        assert!(body != b"D" && !body.starts_with(b"D;"), "{body:?}");
    }
}

/// The bodies of the packets that QEMU's reader finds (`gdb_read_byte` in its gdbstub).
fn as_qemu(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut found, mut bytes) = (Vec::new(), bytes.iter().copied());
    while let Some(byte) = bytes.next() {
        if byte != b'$' {
            assert!(b"+-\x03".contains(&byte), "{byte:#x} outside a packet");
            continue;
        }
        let (mut body, mut sum) = (Vec::new(), 0_u8);
        loop {
            let byte = bytes.next().expect("a packet is whole");
            if byte == b'#' {
                break;
            }
            sum = sum.wrapping_add(byte);
            match byte {
                b'}' => match bytes.next().expect("a packet is whole") {
                    b'#' => break,
                    escaped => {
                        sum = sum.wrapping_add(escaped);
                        body.push(escaped ^ 0x20);
                    }
                },
                // A repetition, and another packet.
                b'*' | b'$' => panic!("{byte:#x} in a packet"),
                byte => body.push(byte),
            }
        }
        let digits = [bytes.next(), bytes.next()].map(|digit| digit.expect("a packet is whole"));
        let digits = std::str::from_utf8(&digits).expect("they are digits");
        assert_eq!(u8::from_str_radix(digits, 16), Ok(sum));
        assert!(body.len() < MAX_LENGTH);
        found.push(body);
    }
    found
}
