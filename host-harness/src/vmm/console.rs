//! The guest's console: text goes on to whoever reads it, records are taken out of it.

use std::{
    io::{self, ErrorKind, Write},
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use dormir_abi::record::{self, MARK, MAX_LENGTH, Record};

use super::{GuestTime, Outcome};

/// How long to wait before an output that could take no more is asked again.
const PAUSE: Duration = Duration::from_millis(1);

/// Splits a stream of bytes into text and records, however it is cut into pieces.
#[derive(Debug, Default)]
struct Splitter {
    /// The record that has begun, without its mark. It never grows beyond [`MAX_LENGTH`]: what is
    /// longer is cut there, and the rest of the line dropped.
    record: Option<Vec<u8>>,
}

impl Splitter {
    /// Appends the text in `bytes` to `text`, and calls `on_record` with each record that ends.
    fn split(&mut self, bytes: &[u8], text: &mut Vec<u8>, mut on_record: impl FnMut(&str)) {
        for &byte in bytes {
            match (&mut self.record, byte) {
                (None, MARK) => self.record = Some(Vec::new()),
                (None, _) => text.push(byte),
                (Some(_), b'\n') => self.end(&mut on_record),
                // The guest was interrupted in the middle of a record, by a fault that it reports.
                (Some(_), MARK) => {
                    self.end(&mut on_record);
                    self.record = Some(Vec::new());
                }
                (Some(record), _) if record.len() < MAX_LENGTH => record.push(byte),
                (Some(_), _) => {}
            }
        }
    }

    /// Ends the record that has begun, if any.
    fn end(&mut self, mut on_record: impl FnMut(&str)) {
        if let Some(record) = self.record.take() {
            on_record(String::from_utf8_lossy(&record).trim_end_matches('\r'));
        }
    }
}

/// What the guest said in its records.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The first panic or exception: later ones are its consequences.
    verdict: Option<Outcome>,
    pub(super) stats: Vec<(String, u64)>,
    pub(super) samples: Vec<(String, Vec<u64>)>,
    pub(super) times: Vec<GuestTime>,
}

impl Said {
    /// Takes a record whose last byte came `at` this moment.
    fn hear(&mut self, record: &str, at: Instant) {
        match Record::parse(record) {
            Some(Record::Panic(message)) => {
                self.verdict
                    .get_or_insert_with(|| Outcome::Panicked(message.to_owned()));
            }
            Some(Record::Exception(message)) => {
                self.verdict
                    .get_or_insert_with(|| Outcome::Faulted(message.to_owned()));
            }
            Some(Record::Stat { name, value }) => self.stats.push((name.to_owned(), value)),
            Some(Record::Samples { name, values }) => {
                self.hear_samples(name, record::values(values))
            }
            Some(Record::Time { nanos }) => self.times.push(GuestTime { nanos, at }),
            // A kind of record that is newer than this harness: not text, so not for the console.
            None => {}
        }
    }

    /// Adds to the series of this name.
    fn hear_samples(&mut self, name: &str, values: impl Iterator<Item = u64>) {
        match self.samples.iter_mut().find(|(known, _)| known == name) {
            Some((_, series)) => series.extend(values),
            None => self.samples.push((name.to_owned(), values.collect())),
        }
    }
}

/// The console of one run.
pub(super) struct Console<'a> {
    out: &'a mut (dyn Write + Send),
    limit: u64,
    /// Set when the run is to end, whether the output has been taken or not.
    leave: &'a AtomicBool,
    /// Bytes that the guest has written so far, records included.
    written: u64,
    splitter: Splitter,
    said: Said,
}

impl<'a> Console<'a> {
    pub(super) fn new(out: &'a mut (dyn Write + Send), limit: u64, leave: &'a AtomicBool) -> Self {
        Self {
            out,
            limit,
            leave,
            written: 0,
            splitter: Splitter::default(),
            said: Said::default(),
        }
    }

    /// Takes what the guest wrote.
    ///
    /// # Errors
    ///
    /// How the run must end: the guest has written more than it may, nobody reads any more, or
    /// ([`Outcome::Stopped`]) the run was to end before somebody read.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Outcome> {
        let now = Instant::now();
        let room = usize::try_from(self.limit - self.written).unwrap_or(usize::MAX);
        let passed = &bytes[..bytes.len().min(room)];
        self.written += passed.len() as u64;

        let mut text = Vec::with_capacity(passed.len());
        self.splitter
            .split(passed, &mut text, |record| self.said.hear(record, now));
        let mut rest = text.as_slice();
        while !rest.is_empty() {
            let length = self.patiently(|out| match out.write(rest)? {
                0 => Err(ErrorKind::WriteZero.into()),
                length => Ok(length),
            })?;
            rest = &rest[length..];
        }
        if !text.is_empty() {
            self.patiently(|out| out.flush())?;
        }
        if passed.len() < bytes.len() {
            return Err(Outcome::ConsoleFlooded { limit: self.limit });
        }
        Ok(())
    }

    /// Repeats what the output cannot do yet, until the run is to end.
    fn patiently<T>(
        &mut self,
        mut action: impl FnMut(&mut dyn Write) -> io::Result<T>,
    ) -> Result<T, Outcome> {
        loop {
            let error = match action(self.out) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => {}
                ErrorKind::BrokenPipe => return Err(Outcome::ConsoleClosed),
                _ => return Err(Outcome::ConsoleFailed(error.to_string())),
            }
            if self.leave.load(Ordering::SeqCst) {
                return Err(Outcome::Stopped);
            }
            sleep(PAUSE);
        }
    }

    /// Whether the guest has not written anything yet.
    pub(super) fn is_unused(&self) -> bool {
        self.written == 0
    }

    /// Weighs how the run ended against what the guest said, and hands that out.
    pub(super) fn conclude(mut self, ended: Outcome) -> (Outcome, Said) {
        // A guest that died in the middle of its last record still said the most of it.
        let now = Instant::now();
        self.splitter.end(|record| self.said.hear(record, now));
        let outcome = match (self.said.verdict.take(), ended) {
            (None, ended) => ended,
            // These came from outside, whatever the guest was at.
            (
                _,
                ended @ (Outcome::Stopped
                | Outcome::ConsoleClosed
                | Outcome::ConsoleFailed(_)
                | Outcome::ConsoleFlooded { .. }),
            ) => ended,
            (Some(verdict), Outcome::Exited(_)) => verdict,
            // The guest could not even end itself, which is the second thing to say.
            (Some(Outcome::Panicked(message)), ended) => {
                Outcome::Panicked(format!("{message} (and then {})", aftermath(&ended)))
            }
            (Some(Outcome::Faulted(message)), ended) => {
                Outcome::Faulted(format!("{message} (and then {})", aftermath(&ended)))
            }
            (Some(verdict), _) => verdict,
        };
        (outcome, self.said)
    }
}

/// How a guest ended that had already said why.
fn aftermath(ended: &Outcome) -> &'static str {
    match ended {
        Outcome::TripleFault { .. } => "it triple-faulted",
        Outcome::TimedOut { .. } => "it did not end before the time limit",
        Outcome::NotEmulated { .. } => "it executed an instruction that KVM cannot emulate",
        _ => "its VM ended",
    }
}

#[cfg(test)]
mod tests;
