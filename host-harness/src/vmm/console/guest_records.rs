//! Collects what a guest reports in its records.

use std::{collections::HashMap, time::Instant};

use dormir_abi::record::{self, Record};

use crate::{
    escape::escape,
    vmm::{GuestTime, Outcome},
};

/// What the guest has reported in its records. Its text is escaped.
#[derive(Debug, Default)]
pub(crate) struct GuestRecords {
    /// The first panic or exception: later ones are consequences of it.
    pub(super) failure: Option<Outcome>,
    /// The exit code that it announced.
    pub(crate) exit: Option<i32>,
    pub(crate) stats: Vec<(String, u64)>,
    pub(crate) samples: Vec<(String, Vec<u64>)>,
    /// The index of each series of samples, by name.
    series: HashMap<String, usize>,
    pub(crate) times: Vec<GuestTime>,
}

impl GuestRecords {
    /// Adds a record whose last byte arrived at the moment `at`.
    pub(super) fn add(&mut self, record: &str, at: Instant) {
        match Record::parse(record) {
            Some(Record::Panic(message)) => {
                self.failure
                    .get_or_insert_with(|| Outcome::Panicked(escape(message)));
            }
            Some(Record::Exception(message)) => {
                self.failure
                    .get_or_insert_with(|| Outcome::Faulted(escape(message)));
            }
            Some(Record::Exit(code)) => self.exit = Some(code),
            Some(Record::Stat { name, value }) => self.stats.push((escape(name), value)),
            Some(Record::Samples { name, values }) => {
                self.add_samples(escape(name), record::values(values));
            }
            Some(Record::Time { nanos }) => self.times.push(GuestTime { nanos, at }),
            // A kind of record that is newer than this harness. It is not text, so it is dropped.
            None => {}
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
