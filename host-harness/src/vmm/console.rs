//! The guest's console: text goes on to whoever reads it, records are taken out of it.

mod said;
mod splitter;

use std::{
    io::{self, ErrorKind, Write},
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use dormir_abi::{exit, record::Nonce};

use super::Outcome;
pub(crate) use said::Said;
pub(crate) use splitter::Splitter;

/// How long to wait before an output that could take no more is asked again.
const PAUSE: Duration = Duration::from_millis(1);

/// The console of one run.
pub(crate) struct Console<'a> {
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
    /// That of a guest that was given this nonce: without one, it has no records.
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
            splitter: Splitter::new(nonce),
            said: Said::default(),
        }
    }

    /// Takes what the guest wrote.
    ///
    /// # Errors
    ///
    /// How the run must end: the guest has written more than it may, nobody reads any more, or
    /// ([`Outcome::Stopped`]) the run was to end before somebody read.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Outcome> {
        let now = Instant::now();
        let room = usize::try_from(self.limit - self.written).unwrap_or(usize::MAX);
        let passed = &bytes[..bytes.len().min(room)];
        self.written += passed.len() as u64;

        let mut text = Vec::with_capacity(passed.len());
        self.splitter
            .split(passed, &mut text, |record| self.said.hear(record, now));
        self.pass_on(&text)?;
        if passed.len() < bytes.len() {
            return Err(Outcome::ConsoleFlooded { limit: self.limit });
        }
        Ok(())
    }

    /// Hands text to the output.
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

    /// The code that came through the exit port as `code`: the one that the guest said, if it was too large for
    /// the port.
    fn whole_code(&self, code: i32) -> i32 {
        let largest = i32::from(exit::MAX);
        let said = self.said.exit.filter(|said| *said > largest);
        said.filter(|_| code == largest).unwrap_or(code)
    }

    /// The code with which the guest said that it ends itself.
    pub(crate) fn exit_said(&self) -> Option<i32> {
        self.said.exit
    }

    /// Weighs how the run ended against what the guest said, and hands that out.
    pub(crate) fn conclude(mut self, ended: Outcome) -> (Outcome, Said) {
        // A guest that died in the middle of its last record still said the most of it.
        let (now, mut text) = (Instant::now(), Vec::new());
        self.splitter
            .finish(&mut text, |record| self.said.hear(record, now));
        // The run is over: what cannot be written at once is not waited for.
        let _ = self.out.write_all(&text);
        let outcome = match (self.said.verdict.take(), ended) {
            (None, Outcome::Exited(code)) => Outcome::Exited(self.whole_code(code)),
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
        Outcome::PoweredOff => "it switched its machine off",
        Outcome::TimedOut { .. } => "it did not end before the time limit",
        Outcome::NotEmulated { .. } => "it executed an instruction that KVM cannot emulate",
        _ => "its VM ended",
    }
}

#[cfg(test)]
mod tests;
