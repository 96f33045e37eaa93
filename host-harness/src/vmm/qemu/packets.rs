//! The requests of a debugger to QEMU, by GDB's remote protocol.
//!
//! QEMU's own commands are among them (`monitor`), and those can write files and start programs. So
//! each request is read whole, checked, and written anew: what QEMU is given is what was checked.

mod fuzz;

pub(crate) use fuzz::fuzz_packets;

/// The longest request that QEMU takes.
const MAX_LENGTH: usize = 4096;

/// What a debugger has sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Bytes for QEMU.
    Pass(Vec<u8>),
    /// To detach.
    Detach,
    /// A packet that QEMU is not given, and the answer to it.
    Refuse(&'static [u8]),
}

/// The answer to a request that is not supported.
const NOT_SUPPORTED: &[u8] = b"+$#00";
/// The answer to a packet with a wrong checksum.
const SEND_AGAIN: &[u8] = b"-";

/// What the next byte is part of.
#[derive(Debug, Default)]
enum State {
    #[default]
    Outside,
    Body,
    FirstDigit,
    SecondDigit(u8),
}

/// Reads a debugger's bytes.
#[derive(Debug, Default)]
pub(super) struct Requests {
    state: State,
    body: Vec<u8>,
}

/// What no debugger sends: a byte between packets that is no acknowledgement and no Ctrl-C, or a
/// packet that is too long. The peer is another program, for example a browser, and what follows
/// may look like a packet: so nothing more of it may be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotGdbError;

impl Requests {
    /// Takes the next byte; returns what it completes, if anything.
    pub(super) fn push(&mut self, byte: u8) -> Result<Option<Request>, NotGdbError> {
        let (state, request) = match std::mem::take(&mut self.state) {
            State::Outside => match byte {
                b'$' => {
                    self.body.clear();
                    (State::Body, None)
                }
                // Acknowledgements, and Ctrl-C.
                b'+' | b'-' | 0x03 => (State::Outside, Some(Request::Pass(vec![byte]))),
                _ => return Err(NotGdbError),
            },
            State::Body if byte == b'#' => (State::FirstDigit, None),
            State::Body => {
                if self.body.len() == MAX_LENGTH - 4 {
                    return Err(NotGdbError);
                }
                self.body.push(byte);
                (State::Body, None)
            }
            State::FirstDigit => (State::SecondDigit(byte), None),
            State::SecondDigit(first) => {
                let digits = [first, byte];
                (State::Outside, Some(self.complete(digits)))
            }
        };
        self.state = state;
        Ok(request)
    }

    /// Handles a packet with these digits of its checksum.
    fn complete(&self, digits: [u8; 2]) -> Request {
        let sum = self
            .body
            .iter()
            .fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        let digits = std::str::from_utf8(&digits).ok();
        if digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) != Some(sum) {
            return Request::Refuse(SEND_AGAIN);
        }
        if !self.is_for_guest() {
            return Request::Refuse(NOT_SUPPORTED);
        }
        if self.body == b"D" || self.body.starts_with(b"D;") {
            return Request::Detach;
        }
        let mut packet = vec![b'$'];
        packet.extend(&self.body);
        packet.extend(format!("#{sum:02x}").bytes());
        Request::Pass(packet)
    }

    /// Returns whether the request is about the guest, and not one of QEMU's own commands.
    fn is_for_guest(&self) -> bool {
        // Debuggers escape both. For QEMU a repetition begins at the one, with which a packet grows
        // over its limit, and another packet at the other, if it has given up the first.
        if self.body.iter().any(|byte| b"*$".contains(byte)) {
            return false;
        }
        // A name in which something is escaped is another one for QEMU.
        let name = &self.body[..self.body.len().min(b"qRcmd".len())];
        // Memory in binary form is escaped too, but its name is this one letter.
        name.starts_with(b"X") || !(name == b"qRcmd" || name.contains(&b'}'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(body: &[u8]) -> Vec<u8> {
        let sum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        [b"$", body, b"#", format!("{sum:02x}").as_bytes()].concat()
    }

    fn all(bytes: &[u8]) -> Vec<Request> {
        let mut requests = Requests::default();
        let pushed = bytes.iter().map(|byte| requests.push(*byte));
        pushed
            .filter_map(|request| request.expect("short enough"))
            .collect()
    }

    #[test]
    fn requests_about_the_guest_pass_unchanged() {
        for body in [
            &b"g"[..],
            b"qSupported:a+;b-",
            b"m20004f,4",
            b"vCont;s:p1.1",
            b"X0,1:}\n",
        ] {
            let packet = packet(body);
            assert_eq!(all(&packet), [Request::Pass(packet)]);
        }
        let others = all(b"+\x03");
        assert_eq!(others, [Request::Pass(vec![b'+']), Request::Pass(vec![3])]);
    }

    #[test]
    fn a_request_to_detach_is_recognised() {
        for body in [&b"D"[..], b"D;1"] {
            assert_eq!(all(&packet(body)), [Request::Detach]);
        }
    }

    #[test]
    fn commands_of_qemu_are_refused_however_they_are_written() {
        let long = [b"X", &b"*~".repeat(50)[..], b"$qRcmd,71"].concat();
        for body in [
            &b"qRcmd,71756974"[..],
            b"q}rcmd,71",
            b"}QRcmd,71",
            b"qR* cmd,71",
            b"X$qRcmd,71",
            &long,
        ] {
            assert_eq!(all(&packet(body)), [Request::Refuse(NOT_SUPPORTED)]);
        }
    }

    #[test]
    fn a_packet_with_a_wrong_checksum_is_to_be_sent_again() {
        let good = packet(b"g");
        let bytes = [b"$g#zz$g#00", &good[..]].concat();
        let again = || Request::Refuse(SEND_AGAIN);
        assert_eq!(all(&bytes), [again(), again(), Request::Pass(good)]);
    }

    #[test]
    fn any_other_byte_between_packets_is_an_error() {
        for byte in (0..=u8::MAX).filter(|byte| !b"+-$\x03".contains(byte)) {
            let mut requests = Requests::default();
            for good in packet(b"g") {
                assert!(requests.push(good).is_ok());
            }
            assert_eq!(requests.push(byte), Err(NotGdbError), "{byte:#x}");
        }
    }

    #[test]
    fn a_packet_that_is_too_long_is_an_error() {
        let mut requests = Requests::default();
        let mut bytes = [b'$']
            .into_iter()
            .chain(std::iter::repeat_n(b'm', MAX_LENGTH));
        assert!(bytes.any(|byte| requests.push(byte).is_err()));
    }
}
