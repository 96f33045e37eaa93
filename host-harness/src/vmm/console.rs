//! The guest's console: forwards text to its reader, and filters out records.

mod guest_records;
mod splitter;

use std::{
    io::{self, ErrorKind, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use dormir_abi::{exit, record::Nonce};

use super::outcome::Outcome;
pub(crate) use guest_records::GuestRecords;
pub(crate) use splitter::Splitter;

/// How long to wait before a full output is retried.
const PAUSE: Duration = Duration::from_millis(1);

/// The console of one run.
pub(crate) struct Console<'a> {
    out: &'a mut (dyn Write + Send),
    limit: u64,
    /// Set when the run must end, whether the output has been written or not.
    leave: &'a AtomicBool,
    /// Bytes that the guest has written so far, records included.
    written: u64,
    /// The guest has no records.
    is_foreign: bool,
    splitter: Splitter,
    records: GuestRecords,
    /// When the guest was asked what it was doing, because its time limit was reached.
    asked: Option<Instant>,
}

impl<'a> Console<'a> {
    /// Makes the console of a guest with this nonce; without one, the guest has no records.
    pub(crate) fn new(
        out: &'a mut (dyn Write + Send),
        limit: u64,
        leave: &'a AtomicBool,
        nonce: Option<Nonce>,
    ) -> Self {
        Self {
            out,
            limit,
            leave,
            written: 0,
            is_foreign: nonce.is_none(),
            splitter: Splitter::new(nonce),
            records: GuestRecords::default(),
            asked: None,
        }
    }

    /// Accepts what the guest wrote.
    ///
    /// # Errors
    ///
    /// How the run must end: the guest has exceeded its limit, the reader has closed the console,
    /// or ([`Outcome::Stopped`]) the run had to end before the output was written.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Outcome> {
        let now = Instant::now();
        let room = usize::try_from(self.limit - self.written).unwrap_or(usize::MAX);
        let passed = &bytes[..bytes.len().min(room)];
        self.written += passed.len() as u64;

        let mut text = Vec::with_capacity(passed.len());
        self.splitter
            .split(passed, &mut text, |record| self.records.add(record, now));
        self.pass_on(&text)?;
        if passed.len() < bytes.len() {
            return Err(Outcome::ConsoleFlooded { limit: self.limit });
        }
        Ok(())
    }

    /// Writes text to the output.
    fn pass_on(&mut self, text: &[u8]) -> Result<(), Outcome> {
        let mut rest = text;
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
        Ok(())
    }

    /// Repeats an action that the output cannot do yet, until the run must end.
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

    /// Returns the exit code that arrived at the exit port as `code`: the one in the guest's
    /// record, if it was too large for the port.
    fn whole_code(&self, code: i32) -> i32 {
        let largest = i32::from(exit::MAX);
        let reported = self.records.exit.filter(|exit| *exit > largest);
        reported.filter(|_| code == largest).unwrap_or(code)
    }

    /// Records when the guest was asked what it was doing: how it ends then, and the failures that
    /// it reports, are consequences.
    pub(crate) fn set_asked(&mut self, at: Instant) {
        self.asked = Some(at);
    }

    /// Returns what is set when the guest's input can be sent. A foreign guest does not tell that.
    pub(super) fn input_is_open(&self) -> Arc<AtomicBool> {
        let is_open = &self.records.input_is_open;
        if self.is_foreign {
            is_open.store(true, Ordering::SeqCst);
        }
        Arc::clone(is_open)
    }

    /// Returns the exit code that the guest reported.
    pub(crate) fn reported_exit(&self) -> Option<i32> {
        self.records.exit
    }

    /// Combines how the run ended with what the guest reported; returns the outcome and the
    /// records.
    pub(crate) fn complete(mut self, ended: Outcome) -> (Outcome, GuestRecords) {
        // A guest that died while writing its last record still wrote most of it.
        let (now, mut text) = (Instant::now(), Vec::new());
        self.splitter
            .finish(&mut text, |record| self.records.add(record, now));
        // The run is over: does not wait for an output that is full.
        let _ = self.out.write_all(&text);
        let outcome = match (self.records.take_failure(self.asked), ended) {
            (None, Outcome::Exited(code)) => Outcome::Exited(self.whole_code(code)),
            (None, ended) => ended,
            // These came from outside, whatever the guest was doing.
            (
                _,
                ended @ (Outcome::Stopped
                | Outcome::ConsoleClosed
                | Outcome::ConsoleFailed(_)
                | Outcome::ConsoleFlooded { .. }),
            ) => ended,
            (Some(failure), Outcome::Exited(_)) => failure,
            // The guest also failed to end itself.
            (Some(Outcome::Panicked(message)), ended) => {
                Outcome::Panicked(format!("{message} (and then {})", aftermath(&ended)))
            }
            (Some(Outcome::Faulted(message)), ended) => {
                Outcome::Faulted(format!("{message} (and then {})", aftermath(&ended)))
            }
            (Some(failure), _) => failure,
        };
        (outcome, self.records)
    }
}

/// Describes how a guest ended that had already reported a failure.
fn aftermath(ended: &Outcome) -> &'static str {
    match ended {
        Outcome::TripleFault { .. } => "it triple-faulted",
        Outcome::PoweredOff => "it powered its machine off",
        Outcome::TimedOut { .. } => "it did not end before the time limit",
        Outcome::NotEmulated { .. } => "it executed an instruction that KVM cannot emulate",
        _ => "its VM ended",
    }
}

#[cfg(test)]
mod tests;
