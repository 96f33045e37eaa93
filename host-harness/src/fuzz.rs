//! What the fuzz targets in `fuzz/` call, and the test that replays their corpora: the readers of
//! what others write, with any bytes. Each must return, and what it asserts must hold.

use std::collections::BTreeSet;

use dormir_abi::record::{self, NONCE_ARGUMENT, Nonce, Record};

pub use crate::vmm::fuzz_image as elf;
use crate::{
    cli::terminal::Filter,
    escape::{escape, is_command},
    vmm::{Heard, Messages, Splitter},
};

/// A target: a function and its name, which is also that of the corpus.
pub type Target = (&'static str, fn(&[u8]));

/// Every target here.
pub const TARGETS: &[Target] = &[
    ("records", records),
    ("console", console),
    ("json", json),
    ("elf", elf),
];

/// The nonce of the console's records, all zeros.
const NONCE: Nonce = Nonce::new(0);

/// A record, and a command line with a nonce.
pub fn records(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(record) = Record::parse(&text) {
        if let Record::Samples { values, .. } = record {
            assert_eq!(record::values(values).count(), values.split(' ').count());
        }
        // Numbers may be written in several ways, which are the same from then on.
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

/// A console, which is cut into pieces of as many bytes as the first one says.
pub fn console(bytes: &[u8]) {
    let Some((size, stream)) = bytes.split_first() else {
        return;
    };
    let pieces: Vec<&[u8]> = stream.chunks(usize::from(*size).max(1)).collect();

    let (text, found) = split(Some(NONCE), &[stream]);
    assert_eq!(split(Some(NONCE), &pieces), (text, found.clone()));
    // Whatever begins a record was there.
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

/// What QEMU's monitor says.
pub fn json(bytes: &[u8]) {
    let _ = Heard::read(bytes);
}

/// What a terminal would obey, but for line feeds, tabs, and what begins a sequence.
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
