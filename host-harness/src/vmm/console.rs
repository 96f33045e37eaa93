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
mod tests {
    use super::*;

    /// Nobody asks the runs of these tests to end.
    static GO_ON: AtomicBool = AtomicBool::new(false);

    fn split(pieces: &[&[u8]]) -> (String, Vec<String>) {
        let mut splitter = Splitter::default();
        let (mut text, mut records) = (Vec::new(), Vec::new());
        for piece in pieces {
            splitter.split(piece, &mut text, |record| records.push(record.to_owned()));
        }
        (String::from_utf8(text).unwrap(), records)
    }

    const MIXED: &[u8] =
        b"one\n\x1estat polls 7\ntwo\x1epanic src/main.rs:1:2: no\r\nthree\n\x1e\n\x1enew kind\nend";

    #[test]
    fn records_are_taken_out_wherever_the_stream_is_cut() {
        let text = "one\ntwothree\nend";
        let records = ["stat polls 7", "panic src/main.rs:1:2: no", "", "new kind"];
        for cut in 0..=MIXED.len() {
            let (head, tail) = MIXED.split_at(cut);
            let (found_text, found_records) = split(&[head, tail]);
            assert_eq!(found_text, text, "cut at {cut}");
            assert_eq!(found_records, records, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = MIXED.chunks(1).collect();
        assert_eq!(split(&bytes).0, text);
    }

    #[test]
    fn a_partial_line_is_passed_at_once() {
        assert_eq!(split(&[b"no line feed"]).0, "no line feed");
    }

    #[test]
    fn an_overlong_record_is_cut_and_the_text_after_it_is_kept() {
        let mut bytes = vec![MARK];
        bytes.extend_from_slice(b"panic ");
        bytes.resize(3 * MAX_LENGTH, b'x');
        bytes.extend_from_slice(b"\nafter");
        let (text, records) = split(&[&bytes]);
        assert_eq!(text, "after");
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].len(), MAX_LENGTH);
    }

    #[test]
    fn a_record_inside_a_record_ends_the_first() {
        let (text, records) = split(&[b"\x1epanic half\x1eexception whole\n"]);
        assert_eq!(text, "");
        assert_eq!(records, ["panic half", "exception whole"]);
    }

    fn conclude(bytes: &[u8], ended: Outcome) -> (Outcome, Vec<(String, u64)>) {
        let (outcome, said) = conclude_with_all(bytes, ended);
        (outcome, said.stats)
    }

    fn conclude_with_all(bytes: &[u8], ended: Outcome) -> (Outcome, Said) {
        let mut out = Vec::new();
        let mut console = Console::new(&mut out, 1 << 20, &GO_ON);
        console.write(bytes).unwrap();
        console.conclude(ended)
    }

    #[test]
    fn a_panic_record_makes_any_exit_code_a_panic() {
        for code in [0, 101] {
            let (outcome, _) = conclude(b"\x1epanic here: no\n", Outcome::Exited(code));
            assert_eq!(outcome, Outcome::Panicked("here: no".into()));
        }
    }

    #[test]
    fn the_first_verdict_counts_and_an_unfinished_one_too() {
        let (outcome, _) = conclude(
            b"\x1eexception first\n\x1epanic second\n",
            Outcome::Exited(101),
        );
        assert_eq!(outcome, Outcome::Faulted("first".into()));
        let (outcome, _) = conclude(b"\x1epanic cut of", Outcome::Exited(101));
        assert_eq!(outcome, Outcome::Panicked("cut of".into()));
    }

    #[test]
    fn a_guest_that_hangs_after_its_panic_is_said_to() {
        let hang = Outcome::TimedOut {
            limit: Duration::from_secs(1),
            place: None,
        };
        let (outcome, _) = conclude(b"\x1epanic no\n", hang);
        let Outcome::Panicked(message) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(message.starts_with("no (and then"), "{message}");
    }

    #[test]
    fn a_run_that_was_stopped_is_stopped_whatever_the_guest_said() {
        let (outcome, _) = conclude(b"\x1epanic no\n", Outcome::Stopped);
        assert_eq!(outcome, Outcome::Stopped);
    }

    #[test]
    fn without_a_verdict_the_end_stands_and_the_figures_keep_their_order() {
        let (outcome, stats) = conclude(
            b"\x1estat polls 7\n\x1estat halted_ns 9\n",
            Outcome::Exited(3),
        );
        assert_eq!(outcome, Outcome::Exited(3));
        assert_eq!(stats, [("polls".into(), 7), ("halted_ns".into(), 9)]);
    }

    #[test]
    fn times_are_kept_with_the_moment_of_their_coming() {
        let before = Instant::now();
        let ended = Outcome::Exited(0);
        let (_, said) = conclude_with_all(b"\x1etime 7\ntext\x1etime 9\n", ended);
        assert!(said.stats.is_empty());
        let nanos: Vec<u64> = said.times.iter().map(|time| time.nanos).collect();
        assert_eq!(nanos, [7, 9]);
        assert!(
            said.times
                .iter()
                .all(|time| (before..=Instant::now()).contains(&time.at))
        );
    }

    #[test]
    fn records_of_one_name_make_one_series() {
        let records = b"\x1esamples a 1 2\n\x1esamples b 7\n\x1esamples a 3\n\x1esamples b x\n";
        let (_, said) = conclude_with_all(records, Outcome::Exited(0));
        let expected = [("a".into(), vec![1, 2, 3]), ("b".into(), vec![7])];
        assert_eq!(said.samples, expected);
    }

    #[test]
    fn a_flood_is_cut_at_the_limit() {
        let mut out = Vec::new();
        let mut console = Console::new(&mut out, 5, &GO_ON);
        console.write(b"123").unwrap();
        assert_eq!(
            console.write(b"4567"),
            Err(Outcome::ConsoleFlooded { limit: 5 })
        );
        assert_eq!(out, b"12345");
    }

    #[test]
    fn exactly_the_limit_is_no_flood() {
        let mut out = Vec::new();
        let mut console = Console::new(&mut out, 5, &GO_ON);
        assert_eq!(console.write(b"12345"), Ok(()));
    }

    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_console_ends_the_run_but_records_do_not_notice() {
        let mut out = Failing(ErrorKind::BrokenPipe);
        let mut console = Console::new(&mut out, 1 << 20, &GO_ON);
        assert_eq!(console.write(b"\x1estat polls 1\n"), Ok(()));
        assert_eq!(console.write(b"text"), Err(Outcome::ConsoleClosed));
    }

    #[test]
    fn an_output_that_fails_ends_the_run_with_the_reason() {
        let mut out = Failing(ErrorKind::StorageFull);
        let Err(Outcome::ConsoleFailed(reason)) =
            Console::new(&mut out, 1 << 20, &GO_ON).write(b"text")
        else {
            panic!("it fails");
        };
        assert_eq!(reason, io::Error::from(ErrorKind::StorageFull).to_string());
    }

    #[test]
    fn an_output_that_takes_nothing_is_left_when_the_run_is_to_end() {
        for kind in [ErrorKind::WouldBlock, ErrorKind::Interrupted] {
            let mut out = Failing(kind);
            let leave = AtomicBool::new(true);
            let mut console = Console::new(&mut out, 1 << 20, &leave);
            assert_eq!(console.write(b"text"), Err(Outcome::Stopped));
        }
    }

    #[test]
    fn an_output_that_takes_a_byte_now_and_then_gets_them_all() {
        #[derive(Default)]
        struct Slow {
            calls: u32,
            taken: Vec<u8>,
        }
        impl Write for Slow {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.calls += 1;
                if self.calls.is_multiple_of(2) {
                    return Err(ErrorKind::WouldBlock.into());
                }
                self.taken.extend(&bytes[..1]);
                Ok(1)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut out = Slow::default();
        let mut console = Console::new(&mut out, 1 << 20, &GO_ON);
        assert_eq!(console.write(b"slowly"), Ok(()));
        assert_eq!(out.taken, b"slowly");
    }
}
