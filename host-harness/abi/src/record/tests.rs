//! Records, nonces and names, as they are written and parsed.

extern crate std;
use super::*;
use std::string::ToString;

#[test]
fn records_survive_the_console() {
    for record in [
        Record::Panic("src/main.rs:3:5\x1fno such case"),
        Record::Exception("page fault at 0x0"),
        Record::Hang("task main::work runs"),
        Record::Stall("task main::work has not yielded for 1.1s"),
        Record::Registers(Registers {
            rip: 0x20_0000,
            ..Registers::default()
        }),
        Record::Interrupt {
            frame: 0x21_0000,
            rip: 0x20_0000,
            rsp: u64::MAX,
        },
        Record::Stack("2140f8=20013c 214100=20014d"),
        Record::Exit(0),
        Record::Exit(i32::MIN),
        Record::Stat {
            name: "halted_ns",
            value: u64::MAX,
        },
        Record::Samples {
            name: "timer/floor/poll",
            values: "1 0 18446744073709551615",
        },
        Record::Data {
            name: "trace.bin",
            hex: "00ff7f",
        },
        Record::Data { name: "0", hex: "" },
        Record::Time { nanos: u64::MAX },
        Record::InputOpen,
    ] {
        assert_eq!(Record::parse(&record.to_string()), Some(record));
    }
}

#[test]
fn a_nonce_goes_through_the_command_line() {
    for (bits, digits) in [
        (0, "0000000000000000"),
        (0x0123_4567_89ab_cdef, "0123456789abcdef"),
        (u64::MAX, "ffffffffffffffff"),
    ] {
        let nonce = Nonce::new(bits);
        assert_eq!(nonce.as_str(), digits);
        for (behind, arguments) in [("", ""), (" ", ""), (" a=1  b", "a=1  b"), ("  c", " c")] {
            let line = std::format!("{NONCE_ARGUMENT}{nonce}{behind}");
            let split = Nonce::split_off(line.as_bytes());
            assert_eq!(split, (Some(nonce), arguments.as_bytes()), "{line:?}");
        }
    }
}

#[test]
fn an_invalid_nonce_stays_an_argument() {
    for line in [
        "",
        "timer=pit",
        "dormir.nonce=",
        "dormir.nonce=0123456789abcde",
        "dormir.nonce=0123456789abcdef0",
        "dormir.nonce=0123456789ABCDEF",
        "dormir.nonce=0123456789abcde  x",
        " dormir.nonce=0123456789abcdef",
    ] {
        assert_eq!(
            Nonce::split_off(line.as_bytes()),
            (None, line.as_bytes()),
            "{line:?}"
        );
    }
}

#[test]
fn a_panics_message_is_apart_from_its_place() {
    for (text, place, message) in [
        ("task a: b.rs:1:2\x1fno", "task a: b.rs:1:2", "no"),
        ("b.rs:1:2\x1fx\x1fy: z", "b.rs:1:2", "x\x1fy: z"),
        ("\x1fno", "", "no"),
        ("b.rs:1:2: no", "", "b.rs:1:2: no"),
    ] {
        assert_eq!(panic_parts(text), (place, message), "{text:?}");
    }
}

#[test]
fn a_text_is_cut_if_it_is_as_long_as_can_be_and_ends_in_dots() {
    let text = |length: usize, end: &str| "x".repeat(length - end.len()) + end;
    for length in MAX_MESSAGE - 3..=MAX_MESSAGE {
        assert!(is_cut(&text(length, "...")), "{length}");
        assert!(!is_cut(&text(length, "..")), "{length}");
    }
    assert!(!is_cut(&text(MAX_MESSAGE - 4, "...")));
}

#[test]
fn samples_are_read_in_their_order() {
    assert!(values("3 1 18446744073709551615").eq([3, 1, u64::MAX]));
}

#[test]
fn data_are_read_as_they_were() {
    let hex: std::string::String = (0..=u8::MAX)
        .map(|byte| std::format!("{byte:02x}"))
        .collect();
    assert!(data_bytes(&hex).eq(0..=u8::MAX));
}

#[test]
fn the_longest_name_leaves_space_for_a_piece() {
    let (name, hex) = ("n".repeat(MAX_DATA_NAME), "00".repeat(DATA_PIECE));
    let record = Record::Data {
        name: &name,
        hex: &hex,
    };
    let line = std::format!("\x1e{} {record}\n", Nonce::new(0));
    assert!(line.len() <= MAX_LENGTH && line.len() + 2 > MAX_LENGTH);
}

#[test]
fn a_name_of_data_stays_in_its_folder() {
    for name in [
        "a",
        "trace.bin",
        "0-1_2",
        "UPPER.case",
        &"n".repeat(MAX_DATA_NAME),
    ] {
        assert!(is_data_name(name), "{name}");
    }
    let long = "n".repeat(MAX_DATA_NAME + 1);
    for name in [
        "", ".", "..", ".hidden", "-rf", "a/b", "/a", "a\\b", "a b", "a\0", "größe", "a\n", &long,
    ] {
        assert!(!is_data_name(name), "{name:?}");
    }
}

#[test]
fn an_invalid_record_is_none() {
    for line in [
        "",
        "panic",
        "exit",
        "registers 1 2",
        "interrupt 1 2",
        "interrupt 1 2 3 4",
        "interrupt 1 2 x",
        "exit 2147483648",
        "exit 0 ",
        "stat polls",
        "stat polls many",
        "samples polls",
        "samples polls 1 many",
        "samples polls 1  2",
        "data name",
        "data ../name 00",
        "data name 0",
        "data name 0g",
        "data name FF",
        "data name 00 00",
        "time 1 2",
        "noise 1 2",
    ] {
        assert_eq!(Record::parse(line), None, "{line:?}");
    }
}
