//! Properties of what a network lets out, and of what it is given, that must hold for any bytes.

use std::{
    io::Write,
    os::unix::net::UnixStream,
    sync::{Arc, atomic::Ordering},
};

use super::{
    filter::Filter,
    frames::{Frames, MAX_FRAME, MAX_INCOMING, Next},
    passt::GATEWAY,
};
use crate::vmm::device::PortForward;

/// The port of the guest that was forwarded, of the filters here.
const PORT: u16 = 80;

/// Reads any bytes as a frame of a guest that only answers, or as what comes from `passt`.
///
/// # Panics
///
/// Panics if a property does not hold: what leaves has the form of an answer, answers leave, and
/// frames are the same in whatever pieces they come.
pub(crate) fn fuzz_frames(bytes: &[u8]) {
    match bytes {
        [0, frame @ ..] => check_filter(frame),
        [piece, stream @ ..] => check_pieces(usize::from(*piece), stream),
        [] => {}
    }
}

fn check_filter(frame: &[u8]) {
    let held_back = Arc::default();
    let forward = PortForward {
        host: 1,
        guest: PORT,
    };
    let filter = Filter::new(&[forward], Arc::clone(&held_back));
    let leaves = filter.lets_out(frame);
    assert!(!leaves || is_answer(frame), "{frame:?}");
    let is_counted = !leaves && frame.get(12..14) == Some(&[8, 0]);
    assert_eq!(held_back.load(Ordering::Relaxed), u64::from(is_counted));
    assert!(filter.lets_out(&answer(frame)), "{:?}", answer(frame));
}

/// Whether a frame has the form of one that opens no connection, by the fixed places of its bytes.
pub(in crate::vmm::kvm::virtio) fn is_answer(frame: &[u8]) -> bool {
    let packet = &frame[14..];
    match frame[12..14] {
        [8, 6] => true,
        [8, 0] => {
            let content = &packet[usize::from(packet[0] & 15) * 4..];
            let (ports, to) = (&content[..4], &packet[16..20]);
            let is_whole = packet[6] & 0x3f == 0 && packet[7] == 0;
            is_whole
                && match packet[9] {
                    // A SYN has its ACK.
                    6 => {
                        ports[..2] == PORT.to_be_bytes() && content[13] & 0x12 != 2 && to == GATEWAY
                    }
                    17 => ports == [0, 68, 0, 67] && (to == GATEWAY || to == [255; 4]),
                    _ => false,
                }
        }
        _ => false,
    }
}

/// An answer whose other fields and whose data are these bytes.
fn answer(bytes: &[u8]) -> Vec<u8> {
    const HEADERS: usize = 14 + 20 + 20;
    let mut frame = bytes.to_vec();
    frame.resize(frame.len().clamp(HEADERS, MAX_FRAME), 1);
    let length = (frame.len() - 14) as u16;
    frame[12..15].copy_from_slice(&[8, 0, 0x45]);
    frame[16..18].copy_from_slice(&length.to_be_bytes());
    // No fragment; TCP; to the gateway; from the port; no options, with ACK.
    frame[20..22].fill(0);
    frame[23] = 6;
    frame[30..34].copy_from_slice(&GATEWAY);
    frame[34..36].copy_from_slice(&PORT.to_be_bytes());
    frame[46] = 0x50;
    frame[47] |= 0x10;
    frame
}

/// Frames that come in pieces of this size are those of the whole.
fn check_pieces(piece: usize, stream: &[u8]) {
    let (ours, mut other_end) = UnixStream::pair().expect("two sockets");
    let mut frames = Frames::new(ours).expect("it is a socket");
    let (mut found, mut is_open) = (Vec::new(), true);
    for piece in stream.chunks(piece) {
        if !is_open {
            break;
        }
        other_end.write_all(piece).expect("each is taken at once");
        is_open = loop {
            match frames.next() {
                Next::Frame => found.push(frames.take().expect("it is whole").to_vec()),
                Next::LookAgain => {}
                Next::Nothing => break true,
                Next::Closed => break false,
            }
        };
    }
    let (expected, is_sound) = whole(stream);
    assert!(found == expected);
    assert_eq!(is_open, is_sound);
}

/// The frames that a guest is given of a stream, and whether every length in it can be.
fn whole(mut stream: &[u8]) -> (Vec<&[u8]>, bool) {
    let mut frames = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        if length > MAX_INCOMING {
            return (frames, false);
        }
        let Some((frame, rest)) = rest.split_at_checked(length) else {
            break;
        };
        if length <= MAX_FRAME {
            frames.push(frame);
        }
        stream = rest;
    }
    (frames, true)
}
