use super::*;
use crate::vmm::PanicMessage;
use dormir_abi::record::MAX_LENGTH;

/// The runs of these tests are never asked to end.
static GO_ON: AtomicBool = AtomicBool::new(false);

/// The nonce of the records here, which begin with [`BEGIN`].
const NONCE: Nonce = Nonce::new(0x0123_4567_89ab_cdef);

const BEGIN: &str = "\x1e0123456789abcdef ";

/// Replaces each `^` in the text by the beginning of a record.
fn marked(text: &str) -> Vec<u8> {
    text.replace('^', BEGIN).into_bytes()
}

fn console<'a>(out: &'a mut (dyn Write + Send), limit: u64) -> Console<'a> {
    Console::new(out, limit, &GO_ON, Some(NONCE))
}

fn split(pieces: &[&[u8]]) -> (String, Vec<String>) {
    split_of(Some(NONCE), pieces)
}

fn split_of(nonce: Option<Nonce>, pieces: &[&[u8]]) -> (String, Vec<String>) {
    let mut splitter = Splitter::new(nonce);
    let (mut text, mut records) = (Vec::new(), Vec::new());
    for piece in pieces {
        splitter.split(piece, &mut text, |record| records.push(record.to_owned()));
    }
    splitter.finish(&mut text, |record| records.push(record.to_owned()));
    (String::from_utf8(text).unwrap(), records)
}

const MIXED: &str = "one\n^stat polls 7\ntwo^panic src/main.rs:1:2: no\r\nthree\n^\n^new kind\nend";

#[test]
fn records_are_taken_out_wherever_the_stream_is_cut() {
    let text = "one\ntwothree\nend";
    let records = ["stat polls 7", "panic src/main.rs:1:2: no", "", "new kind"];
    let mixed = marked(MIXED);
    for cut in 0..=mixed.len() {
        let (head, tail) = mixed.split_at(cut);
        let (found_text, found_records) = split(&[head, tail]);
        assert_eq!(found_text, text, "cut at {cut}");
        assert_eq!(found_records, records, "cut at {cut}");
    }
    let bytes: Vec<&[u8]> = mixed.chunks(1).collect();
    assert_eq!(split(&bytes).0, text);
}

#[test]
fn a_line_with_another_nonce_or_none_is_text() {
    let forged = "\x1e{\"a\": 1}\n\x1e\x1e\n\x1epanic no\n\x1e0123456789abcdee exit \
         0\n\x1e0123456789abcdefexit 0\n\x1e0123456789ABCDEF exit \
         0\n\x1e0123456789\x1e0123456789abcde\n";
    for cut in 0..=forged.len() {
        let (head, tail) = forged.as_bytes().split_at(cut);
        assert_eq!(
            split(&[head, tail]),
            (forged.into(), vec![]),
            "cut at {cut}"
        );
    }
    let cut_off = &BEGIN[..BEGIN.len() - 1];
    assert_eq!(split(&[cut_off.as_bytes()]), (cut_off.into(), vec![]));
    let behind = [cut_off.as_bytes(), &marked("^stat x 1\n")].concat();
    assert_eq!(split(&[&behind]), (cut_off.into(), vec!["stat x 1".into()]));
}

#[test]
fn a_foreign_guest_has_no_records() {
    let mixed = marked(MIXED);
    let (text, records) = split_of(None, &[&mixed]);
    assert_eq!(text.as_bytes(), mixed);
    assert!(records.is_empty());
}

#[test]
fn a_mark_in_a_record_is_part_of_it() {
    let (text, records) = split(&[&marked("^panic \x1estat x 1 \x1e0123 ^panic two\nend")]);
    assert_eq!(text, "end");
    assert_eq!(records, ["panic \x1estat x 1 \x1e0123 ", "panic two"]);
}

#[test]
fn a_partial_line_is_passed_at_once() {
    assert_eq!(split(&[b"no line feed"]).0, "no line feed");
}

#[test]
fn an_overlong_record_is_cut_and_the_text_after_it_is_kept() {
    let mut bytes = marked("^panic ");
    bytes.resize(3 * MAX_LENGTH, b'x');
    bytes.extend_from_slice(b"\nafter");
    let (text, records) = split(&[&bytes]);
    assert_eq!(text, "after");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].len(), MAX_LENGTH);
}

#[test]
fn a_record_inside_a_record_ends_the_first() {
    let (text, records) = split(&[&marked("^panic half^exception whole\n")]);
    assert_eq!(text, "");
    assert_eq!(records, ["panic half", "exception whole"]);
}

fn complete(text: &str, ended: Outcome) -> (Outcome, Vec<(String, u64)>) {
    let (outcome, records) = complete_with_all(text, ended);
    (outcome, records.stats)
}

fn complete_with_all(text: &str, ended: Outcome) -> (Outcome, GuestRecords) {
    let mut out = Vec::new();
    let mut console = console(&mut out, 1 << 20);
    console.write(&marked(text)).unwrap();
    console.complete(ended)
}

#[test]
fn a_panic_record_makes_any_exit_code_a_panic() {
    for code in [0, 101] {
        let (outcome, _) = complete("^panic here: no\n", Outcome::Exited(code));
        assert_eq!(outcome, Outcome::Panicked("here: no".into()));
    }
}

#[test]
fn a_panics_message_is_also_reported_without_its_place() {
    let text = "^panic task a: b.rs:1:2\x1fno\x1fluck\n";
    let hang = Outcome::TimedOut {
        limit: Duration::from_secs(1),
        place: None,
    };
    let (outcome, records) = complete_with_all(text, hang);
    let sentence =
        "task a: b.rs:1:2: no\\u{1f}luck (and then it did not end before the time limit)";
    assert_eq!(outcome, Outcome::Panicked(sentence.into()));
    let message = PanicMessage {
        text: "no\\u{1f}luck".into(),
        is_cut: false,
    };
    assert_eq!(records.panic, Some(message));
    let text = format!("^panic b.rs:1:2\x1f{}...\n", "x".repeat(980));
    let (_, records) = complete_with_all(&text, Outcome::Exited(101));
    assert!(records.panic.expect("a panic").is_cut);
}

#[test]
fn the_first_failure_counts_and_an_unfinished_one_too() {
    let (outcome, _) = complete("^exception first\n^panic second\n", Outcome::Exited(101));
    assert_eq!(outcome, Outcome::Faulted("first".into()));
    let (outcome, _) = complete("^panic cut of", Outcome::Exited(101));
    assert_eq!(outcome, Outcome::Panicked("cut of".into()));
}

#[test]
fn a_hang_after_a_panic_is_reported_too() {
    let hang = Outcome::TimedOut {
        limit: Duration::from_secs(1),
        place: None,
    };
    let (outcome, _) = complete("^panic no\n", hang);
    let Outcome::Panicked(message) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(message.starts_with("no (and then"), "{message}");
}

/// The watchdog's report alone ends no guest: most go on after it.
#[test]
fn a_stall_is_the_end_only_if_the_guest_ends_itself_for_it() {
    let stall = |name: &str| format!("^registers 1 2 3 4 5 6 7 8\n^stack 8=1\n^stall {name}\n");
    let (outcome, records) = complete_with_all(&stall("one"), Outcome::Exited(0));
    assert_eq!(outcome, Outcome::Exited(0));
    assert_eq!(records.stalls.len(), 1);
    // What a panic reports after that is the panic's.
    let text = stall("one") + "^panic no\n";
    let (outcome, records) = complete_with_all(&text, Outcome::Exited(101));
    assert_eq!(outcome, Outcome::Panicked("no".into()));
    assert_eq!(records.stalls.len(), 1);
    let text = stall("one") + &stall("two") + "^exit 103\n";
    let (outcome, records) = complete_with_all(&text, Outcome::Exited(103));
    assert_eq!(outcome, Outcome::Stalled("two".into()));
    assert_eq!(records.stalls.len(), 1);
    // Nor is the code, without a stall.
    let (outcome, _) = complete("^exit 103\n", Outcome::Exited(103));
    assert_eq!(outcome, Outcome::Exited(103));
}

#[test]
fn of_many_stalls_the_first_and_the_last_are_kept() {
    let text: String = (0..1000)
        .map(|number| format!("^stall {number}\n"))
        .collect();
    let (_, records) = complete_with_all(&text, Outcome::Exited(0));
    let kept: Vec<&str> = records.stalls.iter().map(|(stall, _)| &**stall).collect();
    assert_eq!(kept.len(), 16);
    assert_eq!((kept[0], kept[14], kept[15]), ("0", "14", "999"));
}

#[test]
fn a_run_that_was_stopped_is_stopped_whatever_the_guest_reported() {
    let (outcome, _) = complete("^panic no\n", Outcome::Stopped);
    assert_eq!(outcome, Outcome::Stopped);
}

#[test]
fn without_a_failure_record_the_end_counts_and_the_figures_keep_their_order() {
    let (outcome, stats) = complete("^stat polls 7\n^stat halted_ns 9\n", Outcome::Exited(3));
    assert_eq!(outcome, Outcome::Exited(3));
    assert_eq!(stats, [("polls".into(), 7), ("halted_ns".into(), 9)]);
}

#[test]
fn times_are_kept_with_the_moment_of_their_arrival() {
    let before = Instant::now();
    let ended = Outcome::Exited(0);
    let (_, records) = complete_with_all("^time 7\ntext^time 9\n", ended);
    assert!(records.stats.is_empty());
    let nanos: Vec<u64> = records.times.iter().map(|time| time.nanos).collect();
    assert_eq!(nanos, [7, 9]);
    assert!(
        records
            .times
            .iter()
            .all(|time| (before..=Instant::now()).contains(&time.at))
    );
}

#[test]
fn records_of_one_name_make_one_series() {
    let records = "^samples a 1 2\n^samples b 7\n^samples a 3\n^samples b x\n";
    let (_, records) = complete_with_all(records, Outcome::Exited(0));
    let expected = [("a".into(), vec![1, 2, 3]), ("b".into(), vec![7])];
    assert_eq!(records.samples, expected);
}

/// As many names as a console can hold: a linear search for each would take minutes.
#[test]
fn a_flood_of_names_is_taken_in_its_time() {
    let text: String = (0..100_000)
        .map(|number| format!("^samples {number} 1\n"))
        .collect();
    let mut out = Vec::new();
    let mut console = console(&mut out, 1 << 30);
    let started = Instant::now();
    console.write(&marked(&text)).unwrap();
    let (_, records) = console.complete(Outcome::Exited(0));
    assert_eq!(records.samples.len(), 100_000);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_flood_is_cut_at_the_limit() {
    let mut out = Vec::new();
    let mut console = console(&mut out, 5);
    console.write(b"123").unwrap();
    assert_eq!(
        console.write(b"4567"),
        Err(Outcome::ConsoleFlooded { limit: 5 })
    );
    assert_eq!(out, b"12345");
}

#[test]
fn exactly_the_limit_is_not_a_flood() {
    let mut out = Vec::new();
    let mut console = console(&mut out, 5);
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
    let mut console = console(&mut out, 1 << 20);
    assert_eq!(console.write(&marked("^stat polls 1\n")), Ok(()));
    assert_eq!(console.write(b"text"), Err(Outcome::ConsoleClosed));
}

#[test]
fn an_output_that_fails_ends_the_run_with_the_reason() {
    let mut out = Failing(ErrorKind::StorageFull);
    let Err(Outcome::ConsoleFailed(reason)) = console(&mut out, 1 << 20).write(b"text") else {
        panic!("it fails");
    };
    assert_eq!(reason, io::Error::from(ErrorKind::StorageFull).to_string());
}

#[test]
fn a_full_output_is_abandoned_when_the_run_must_end() {
    for kind in [ErrorKind::WouldBlock, ErrorKind::Interrupted] {
        let mut out = Failing(kind);
        let leave = AtomicBool::new(true);
        let mut console = Console::new(&mut out, 1 << 20, &leave, None);
        assert_eq!(console.write(b"text"), Err(Outcome::Stopped));
    }
}

#[test]
fn a_slow_output_gets_every_byte() {
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
    let mut console = console(&mut out, 1 << 20);
    assert_eq!(console.write(b"slowly"), Ok(()));
    assert_eq!(out.taken, b"slowly");
}

#[test]
fn data_is_limited_by_its_names_and_by_the_console() {
    let mut text = String::new();
    for name in 0..dormir_abi::record::MAX_DATA_NAMES + 3 {
        text += &format!("^data {name} 61\n");
    }
    text += "^data 0 62\n";
    let mut out = Vec::new();
    let mut console = console(&mut out, 1 << 20);
    assert_eq!(console.write(&marked(&text)), Ok(()));
    let (_, records) = console.complete(Outcome::Exited(0));
    assert_eq!(records.data.len(), dormir_abi::record::MAX_DATA_NAMES);
    assert_eq!(records.data[0], ("0".into(), b"ab".to_vec()));
    assert_eq!(records.data_dropped, 3);

    let mut out = Vec::new();
    let mut console = self::console(&mut out, 100);
    let flood = marked(&"^data a 61\n".repeat(10));
    assert_eq!(
        console.write(&flood),
        Err(Outcome::ConsoleFlooded { limit: 100 })
    );
}
