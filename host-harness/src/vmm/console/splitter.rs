//! Separates text from records.

use dormir_abi::record::{MARK, MAX_LENGTH, Nonce};

/// Splits a stream of bytes into text and records, in whatever pieces the stream arrives.
///
/// A record begins with the mark and the run's nonce, anywhere in a line, and ends with its line.
/// Everything else is text, including marks with another nonce.
#[derive(Debug)]
pub(crate) struct Splitter {
    /// The beginning of a record: mark, nonce, space. Empty for a guest without records.
    beginning: Vec<u8>,
    /// How much of the beginning has matched.
    matched: usize,
    /// The record that has begun. It never grows beyond [`MAX_LENGTH`]: a longer one is cut there,
    /// and the rest of the line is dropped.
    record: Option<Vec<u8>>,
}

impl Splitter {
    /// Makes a splitter for a guest with this nonce.
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
            // The mark occurs only once in the beginning, so after a failed match the next one
            // starts from zero.
            if self.beginning.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.beginning.len() {
                    self.matched = 0;
                    // The guest was interrupted while writing a record, by a fault that it reports.
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

    /// Ends the stream and the record that has begun.
    pub(crate) fn finish(&mut self, text: &mut Vec<u8>, on_record: impl FnMut(&str)) {
        self.give_up_match(text);
        self.end_record(on_record);
    }

    /// Treats a partial match as text or as part of the record.
    fn give_up_match(&mut self, text: &mut Vec<u8>) {
        for at in 0..std::mem::take(&mut self.matched) {
            self.take(self.beginning[at], text);
        }
    }

    /// Appends a byte to the record that has begun, or else to the text.
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
