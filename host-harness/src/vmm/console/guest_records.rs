//! Collects what a guest reports in its records.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use dormir_abi::{
    backtrace, exit,
    record::{self, MAX_DATA_NAMES, Record},
};

use crate::{
    escape::escape,
    vmm::{
        GuestTime, Outcome, PanicMessage,
        backtrace::{Interrupted, Trace},
    },
};

/// The most stalls of one run that are kept.
const MAX_STALLS: usize = 16;

/// What the guest has reported in its records. Its text is escaped.
#[derive(Debug, Default)]
pub(crate) struct GuestRecords {
    /// The first panic or exception: later ones are consequences of it.
    failure: Option<(Outcome, Instant)>,
    /// What the panic said, if that was the failure.
    pub(in crate::vmm) panic: Option<PanicMessage>,
    /// What it was doing when an NMI came.
    pub(crate) hang: Option<String>,
    /// Where it was when it failed, or when the NMI came.
    pub(in crate::vmm) trace: Trace,
    /// What its watchdog found, and where: the first of them, and the last.
    pub(in crate::vmm) stalls: Vec<(String, Trace)>,
    /// The exit code that it announced.
    pub(crate) exit: Option<i32>,
    pub(crate) stats: Vec<(String, u64)>,
    pub(crate) samples: Vec<(String, Vec<u64>)>,
    /// The index of each series of samples, by name.
    series: HashMap<String, usize>,
    /// The data that it sent, by name, in the order of their first records.
    pub(crate) data: Vec<(String, Vec<u8>)>,
    /// How many records of data were dropped, since there were too many names.
    pub(crate) data_dropped: u64,
    pub(crate) times: Vec<GuestTime>,
    /// Set when its input can be sent.
    pub(in crate::vmm) input_is_open: Arc<AtomicBool>,
}

impl GuestRecords {
    /// Adds a record whose last byte arrived at the moment `at`.
    pub(super) fn add(&mut self, record: &str, at: Instant) {
        match Record::parse(record) {
            Some(Record::Panic(text)) => self.add_panic(text, at),
            Some(Record::Exception(message)) => {
                self.failure
                    .get_or_insert_with(|| (Outcome::Faulted(escape(message)), at));
            }
            Some(Record::Hang(message)) => {
                self.hang.get_or_insert_with(|| escape(message));
            }
            Some(Record::Stall(message)) => {
                self.stalls.truncate(MAX_STALLS - 1);
                // The registers and the stack so far are of this stall.
                let trace = mem::take(&mut self.trace);
                self.stalls.push((escape(message), trace));
            }
            Some(Record::Registers(registers)) => self.trace.set_registers(registers),
            Some(Record::Interrupt { frame, rip, rsp }) => {
                self.trace.set_interrupted(Interrupted { frame, rip, rsp });
            }
            Some(Record::Stack(words)) => self.trace.add_words(backtrace::stack_words(words)),
            Some(Record::Exit(code)) => self.exit = Some(code),
            Some(Record::Stat { name, value }) => self.stats.push((escape(name), value)),
            Some(Record::Samples { name, values }) => {
                self.add_samples(escape(name), record::values(values));
            }
            Some(Record::Data { name, hex }) => self.add_data(name, record::data_bytes(hex)),
            Some(Record::Time { nanos }) => self.times.push(GuestTime { nanos, at }),
            Some(Record::InputOpen) => self.input_is_open.store(true, Ordering::SeqCst),
            // A kind of record that is newer than this harness. It is not text, so it is dropped.
            None => {}
        }
    }

    /// Takes the failure that the guest reported by itself: not after it was asked what it was
    /// doing, at the moment `asked`. An NMI that nothing asked for is a failure too.
    pub(super) fn take_failure(&mut self, asked: Option<Instant>) -> Option<Outcome> {
        let failure = self.failure.take();
        if let Some(asked) = asked {
            return failure.and_then(|(failure, at)| (at < asked).then_some(failure));
        }
        let hang = || {
            let hang = self.hang.as_ref()?;
            Some(Outcome::Faulted(format!("NMI without a handler: {hang}")))
        };
        let failure = failure.map(|(failure, _)| failure).or_else(hang);
        if failure.is_none() && self.exit == Some(exit::STALLED.into()) {
            let (message, trace) = self.stalls.pop()?;
            self.trace = trace;
            return Some(Outcome::Stalled(message));
        }
        failure
    }

    /// Stores a panic, if it is the first failure, in the form `PLACE: MESSAGE`.
    fn add_panic(&mut self, text: &str, at: Instant) {
        if self.failure.is_some() {
            return;
        }
        let (place, message) = record::panic_parts(text);
        let (place, message) = (escape(place), escape(message));
        let gap = if place.is_empty() { "" } else { ": " };
        let sentence = format!("{place}{gap}{message}");
        self.failure = Some((Outcome::Panicked(sentence), at));
        self.panic = Some(PanicMessage {
            text: message,
            is_cut: record::is_cut(text),
        });
    }

    /// Appends to the data with this name. A parsed name needs no escapes.
    fn add_data(&mut self, name: &str, bytes: impl Iterator<Item = u8>) {
        let names = self.data.len();
        match self.data.iter_mut().find(|(known, _)| known == name) {
            Some((_, data)) => data.extend(bytes),
            None if names < MAX_DATA_NAMES => {
                self.data.push((name.to_owned(), bytes.collect()));
            }
            None => self.data_dropped += 1,
        }
    }

    /// Appends to the series with this name.
    fn add_samples(&mut self, name: String, values: impl Iterator<Item = u64>) {
        if let Some(&at) = self.series.get(&name) {
            self.samples[at].1.extend(values);
            return;
        }
        self.series.insert(name.clone(), self.samples.len());
        self.samples.push((name, values.collect()));
    }
}
