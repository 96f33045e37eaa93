//! What a guest said in its records.

use std::{collections::HashMap, time::Instant};

use dormir_abi::record::{self, Record};

use crate::{
    escape::escape,
    vmm::{GuestTime, Outcome},
};

/// What the guest said in its records. Its words are escaped.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// The first panic or exception: later ones are its consequences.
    pub(super) verdict: Option<Outcome>,
    /// The code with which it was about to end itself.
    pub(crate) exit: Option<i32>,
    pub(crate) stats: Vec<(String, u64)>,
    pub(crate) samples: Vec<(String, Vec<u64>)>,
    /// Where each series of samples is, by its name.
    series: HashMap<String, usize>,
    pub(crate) times: Vec<GuestTime>,
}

impl Said {
    /// Takes a record whose last byte came `at` this moment.
    pub(super) fn hear(&mut self, record: &str, at: Instant) {
        match Record::parse(record) {
            Some(Record::Panic(message)) => {
                self.verdict
                    .get_or_insert_with(|| Outcome::Panicked(escape(message)));
            }
            Some(Record::Exception(message)) => {
                self.verdict
                    .get_or_insert_with(|| Outcome::Faulted(escape(message)));
            }
            Some(Record::Exit(code)) => self.exit = Some(code),
            Some(Record::Stat { name, value }) => self.stats.push((escape(name), value)),
            Some(Record::Samples { name, values }) => {
                self.hear_samples(escape(name), record::values(values));
            }
            Some(Record::Time { nanos }) => self.times.push(GuestTime { nanos, at }),
            // A kind of record that is newer than this harness: not text, so not for the console.
            None => {}
        }
    }

    /// Adds to the series of this name.
    fn hear_samples(&mut self, name: String, values: impl Iterator<Item = u64>) {
        if let Some(&at) = self.series.get(&name) {
            self.samples[at].1.extend(values);
            return;
        }
        self.series.insert(name.clone(), self.samples.len());
        self.samples.push((name, values.collect()));
    }
}
