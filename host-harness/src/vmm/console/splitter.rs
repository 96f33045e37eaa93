//! Text and records, told apart.

use dormir_abi::record::{MARK, MAX_LENGTH, Nonce};

/// Splits a stream of bytes into text and records, however it is cut into pieces.
///
/// A record begins with the mark and the run's nonce, wherever that stands, and ends with its line. All else is
/// text, marks with another nonce among it.
#[derive(Debug)]
pub(crate) struct Splitter {
    /// What a record begins with: mark, nonce, blank. Nothing, for a guest that has no records.
    beginning: Vec<u8>,
    /// How much of it has come.
    matched: usize,
    /// The record that has begun. It never grows beyond [`MAX_LENGTH`]: what is longer is cut there, and the rest
    /// of the line dropped.
    record: Option<Vec<u8>>,
}

impl Splitter {
    /// For a guest that was given this nonce.
    pub(crate) fn new(nonce: Option<Nonce>) -> Self {
        let beginning = nonce.map(|nonce| {
            let mut beginning = vec![MARK];
            beginning.extend(nonce.as_str().bytes());
            beginning.push(b' ');
            beginning
        });
        Self {
            beginning: beginning.unwrap_or_default(),
            matched: 0,
            record: None,
        }
    }

    /// Appends the text in `bytes` to `text`, and calls `on_record` with each record that ends.
    pub(crate) fn split(
        &mut self,
        bytes: &[u8],
        text: &mut Vec<u8>,
        mut on_record: impl FnMut(&str),
    ) {
        for &byte in bytes {
            if self.beginning.get(self.matched) != Some(&byte) {
                self.give_up_match(text);
            }
            // The mark is nowhere else in the beginning, so a match that failed can only begin anew.
            if self.beginning.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.beginning.len() {
                    self.matched = 0;
                    // The guest was interrupted in the middle of a record, by a fault that it reports.
                    self.end_record(&mut on_record);
                    self.record = Some(Vec::new());
                }
            } else if byte == b'\n' && self.record.is_some() {
                self.end_record(&mut on_record);
            } else {
                self.take(byte, text);
            }
        }
    }

    /// Ends the stream, and with it the record that has begun.
    pub(crate) fn finish(&mut self, text: &mut Vec<u8>, on_record: impl FnMut(&str)) {
        self.give_up_match(text);
        self.end_record(on_record);
    }

    /// What looked like the beginning of a record is none.
    fn give_up_match(&mut self, text: &mut Vec<u8>) {
        for at in 0..std::mem::take(&mut self.matched) {
            self.take(self.beginning[at], text);
        }
    }

    /// Takes a byte of the record that has begun, or else of text.
    fn take(&mut self, byte: u8, text: &mut Vec<u8>) {
        match &mut self.record {
            None => text.push(byte),
            Some(record) if record.len() < MAX_LENGTH => record.push(byte),
            Some(_) => {}
        }
    }

    /// Ends the record that has begun, if any.
    fn end_record(&mut self, mut on_record: impl FnMut(&str)) {
        if let Some(record) = self.record.take() {
            on_record(String::from_utf8_lossy(&record).trim_end_matches('\r'));
        }
    }
}
