//! The functions of the fuzz targets in `fuzz/`, and of the test that replays their corpora: they
//! run the parsers of untrusted input on any bytes. Each must return, and its assertions must hold.

mod host_calls;
mod link;
mod start_info;

use std::{collections::BTreeSet, task::Waker};

use dormir_abi::record::{self, NONCE_ARGUMENT, Nonce, Record};
use dormir_hyperlight_protocol::{
    Batch, MAX_RECORDS, Reply, ReplyHeader, ReplyStatus,
    guest::{Calls, InputProgress, OutputProgress, Progress},
};

use crate::{
    cli::terminal::Filter,
    escape::{escape, is_command},
    guest_tests::table,
    vmm::{self, Messages, MonitorEvents, Splitter},
};

/// A target: its name, which is also that of the corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("records", records),
    ("console", console),
    ("json", json),
    ("elf", elf),
    ("backtrace", backtrace),
    ("exchange", exchange),
    ("virtio", virtio),
    ("vsock", vsock),
    ("start-info", start_info),
    ("bus", bus),
    ("decode", decode),
    ("frames", frames),
    ("host-calls", host_calls),
    ("link", link),
    ("gdb", gdb),
    ("gdb-relay", gdb_relay),
    ("worker", worker),
];

/// The nonce of the console's records: all zeros.
const NONCE: Nonce = Nonce::new(0);

/// Reads a guest's file as an image, and as a program with tests.
pub fn elf(bytes: &[u8]) {
    vmm::fuzz_image(bytes);
    if let Ok(Some(tests)) = table::read(bytes) {
        assert!(tests.is_sorted_by(|one, other| one.name < other.name));
        assert!(tests.iter().all(|test| !test.name.contains(is_command)));
    }
}

/// Makes a backtrace from what a guest reported, and from its file.
pub fn backtrace(bytes: &[u8]) {
    vmm::fuzz_backtrace(bytes);
}

/// Drives a virtio device of our own VMM.
pub fn virtio(bytes: &[u8]) {
    vmm::kvm::fuzz_virtio(bytes);
}

/// Drives the sockets of our own VMM, as a guest and as programs of the host.
pub fn vsock(bytes: &[u8]) {
    vmm::kvm::fuzz_vsock(bytes);
}

/// Accesses ports and devices of our own VMM as a guest.
pub fn bus(bytes: &[u8]) {
    vmm::kvm::fuzz_bus(bytes);
}

/// Decodes an instruction that a guest is about to execute.
pub fn decode(bytes: &[u8]) {
    vmm::kvm::fuzz_decode(bytes);
}

/// Lets frames of a guest out, and those of its network in.
pub fn frames(bytes: &[u8]) {
    vmm::kvm::fuzz_frames(bytes);
}

/// Debugs a guest of our own VMM.
pub fn gdb(bytes: &[u8]) {
    vmm::kvm::fuzz_gdb(bytes);
}

/// Sends QEMU what a debugger sends.
pub fn gdb_relay(bytes: &[u8]) {
    vmm::qemu::fuzz_packets(bytes);
}

/// Reads what the process of a VM tells, as if its guest had broken out into it.
pub fn worker(bytes: &[u8]) {
    vmm::kvm::fuzz_conversation(bytes);
}

/// Reads what a Hyperlight guest and its host tell each other: as a batch, as a reply, and as the
/// records of a reply to a guest with calls in flight.
pub fn exchange(bytes: &[u8]) {
    if let Some(batch) = Batch::parse(bytes) {
        assert!(batch.records().count() <= MAX_RECORDS);
    }
    if let Some(reply) = Reply::parse(bytes) {
        assert!(reply.records().count() <= MAX_RECORDS);
    }
    const BUDGET: usize = 1000;
    let mut calls = Calls::new();
    calls.set_budget(BUDGET);
    let ids = [0, 1, 2].map(|_| calls.call("f", &[]).expect("there is room"));
    let stream = calls.streaming_call("s", &[]).expect("there is room");
    // The third reply's records are what remains.
    for records in bytes.splitn(3, |byte| *byte == 0xff) {
        let sent = calls.batch(0, true, false);
        let header = Batch::parse(&sent)
            .expect("a guest's batch is sound")
            .header;
        let header = ReplyHeader {
            status: ReplyStatus::Done,
            interrupts: false,
            generation: 1,
            number: header.number,
            now: 0,
            tsc_hz: 1,
            longest_wait: 0,
        };
        let reply = [&header.to_bytes()[..], records].concat();
        let Some(reply) = Reply::parse(&reply) else {
            return;
        };
        assert!(calls.take_reply(&reply));
        while calls.next_woken().is_some() {}
        assert!(calls.held() <= BUDGET);
        let mut piece: &[u8] = &[7; 1000];
        let sent = calls.poll_input(stream, &mut piece, Waker::noop());
        assert!(sent != InputProgress::Queued || piece.is_empty());
        match calls.poll_output(stream, Waker::noop()) {
            OutputProgress::Piece(piece) => assert!(!piece.is_empty()),
            OutputProgress::Ended(_) => {}
            OutputProgress::Waits(_) => drop(calls.set_waker(stream, Waker::noop().clone())),
        }
        // Tasks wait for some of them, which then need the others' memory.
        for id in &ids[1..] {
            if let Progress::Waits(_) = calls.poll(*id, Waker::noop()) {
                calls.set_waker(*id, Waker::noop().clone());
            }
        }
    }
    for id in ids.into_iter().chain([stream]) {
        calls.cancel(id);
    }
    assert_eq!((calls.in_use(), calls.held()), (0, 0));
}

/// Serves a guest that sends anything over its connection.
pub fn host_calls(bytes: &[u8]) {
    host_calls::host_calls(bytes);
}

/// Answers anything over a connection to a guest.
pub fn link(bytes: &[u8]) {
    link::link(bytes);
}

/// Reads what a VMM tells a guest when it starts, as `dormir-guest` reads it.
pub fn start_info(bytes: &[u8]) {
    start_info::start_info(bytes);
}

/// Parses a record, and a command line with a nonce.
pub fn records(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(record) = Record::parse(&text) {
        if let Record::Samples { values, .. } = record {
            assert_eq!(record::values(values).count(), values.split(' ').count());
        }
        if let Record::Data { name, hex } = record {
            assert!(!name.contains(['/', '\0']) && !name.starts_with('.'));
            assert_eq!(2 * record::data_bytes(hex).count(), hex.len());
        }
        // Numbers can be written in several ways; printing makes them uniform.
        let written = record.to_string();
        let again = Record::parse(&written).map(|record| record.to_string());
        assert_eq!(again.as_ref(), Some(&written));
    }
    let (nonce, arguments) = Nonce::split_off(bytes);
    assert!(bytes.ends_with(arguments));
    match nonce {
        None => assert_eq!(bytes, arguments),
        Some(nonce) => assert!(bytes.starts_with(format!("{NONCE_ARGUMENT}{nonce}").as_bytes())),
    }
    assert!(!escape(&text).contains(is_command));
}

/// Reads a console, split into pieces whose size is the first byte.
pub fn console(bytes: &[u8]) {
    let Some((size, stream)) = bytes.split_first() else {
        return;
    };
    let pieces: Vec<&[u8]> = stream.chunks(usize::from(*size).max(1)).collect();

    let (text, found) = split(Some(NONCE), &[stream]);
    assert_eq!(split(Some(NONCE), &pieces), (text, found.clone()));
    // The input contains the beginning of each record.
    let beginnings = stream
        .windows(Nonce::DIGITS + 2)
        .filter(|window| {
            window[0] == record::MARK && &window[1..=Nonce::DIGITS] == NONCE.as_str().as_bytes()
        })
        .count();
    assert!(found.len() <= beginnings);
    assert_eq!(split(None, &pieces), (stream.to_vec(), Vec::new()));

    let shown = filter(&[stream]);
    assert_eq!(filter(&pieces), shown);
    let shown = String::from_utf8(shown).expect("a terminal is given text");
    assert_eq!(
        shown
            .chars()
            .filter(|character| is_obeyed(*character))
            .collect::<String>(),
        ""
    );
    for sequence in shown.split('\x1b').skip(1) {
        let parameters = sequence
            .strip_prefix('[')
            .and_then(|rest| rest.split_once('m'));
        let (parameters, _) = parameters.expect("a sequence is one of colours");
        let known: BTreeSet<char> = ('0'..='9').chain([';', ':']).collect();
        assert!(
            parameters
                .chars()
                .all(|parameter| known.contains(&parameter))
        );
    }

    let words = Messages::read(Some(stream), || {}).last_words();
    assert!(!words.contains(is_command));
}

/// Parses the messages of QEMU's monitor.
pub fn json(bytes: &[u8]) {
    let _ = MonitorEvents::read(bytes, || {});
}

/// Returns whether a terminal would interpret the character, except line feeds, tabs and the start
/// of a sequence.
fn is_obeyed(character: char) -> bool {
    character.is_control() && !matches!(character, '\n' | '\t' | '\x1b')
}

fn split(nonce: Option<Nonce>, pieces: &[&[u8]]) -> (Vec<u8>, Vec<String>) {
    let mut splitter = Splitter::new(nonce);
    let (mut text, mut records) = (Vec::new(), Vec::new());
    for piece in pieces {
        splitter.split(piece, &mut text, |record| records.push(record.to_owned()));
    }
    splitter.finish(&mut text, |record| records.push(record.to_owned()));
    (text, records)
}

fn filter(pieces: &[&[u8]]) -> Vec<u8> {
    let (mut filter, mut shown) = (Filter::default(), Vec::new());
    for piece in pieces {
        filter.pass(piece, &mut shown);
    }
    filter.finish(&mut shown);
    shown
}
