//! A guest's records and its text are distinguished, and its exit codes arrive, under every VMM.

use dormir_harness::vmm::{Outcome, Report, Vmm};

use crate::{
    KVM, config,
    guests::{GuestFile, exit, exit_with_value, print, record, triple_fault},
    launch, launch_guest, outcome,
};

under_every_vmm! {
    a_panic_and_its_message_arrive
    an_exception_and_figures_arrive
    a_code_arrives_if_the_guest_reports_it
    arguments_follow_the_nonce
    text_cannot_be_taken_for_a_record
    of_a_foreign_guest_all_is_text
    a_marked_line_is_text
    no_value_of_32_bits_but_one_is_success
    a_guests_text_is_escaped
    data_arrive_by_name
}

/// Makes a guest that writes these records, prints a text, and ends.
fn run_with_records(vmm: Vmm, records: &[&str], end: &[u8]) -> (Report, String) {
    let mut code = print(b"a");
    for text in records {
        code.extend(record(vmm == KVM, text));
    }
    code.extend(print(b"b"));
    code.extend(end);
    launch_guest(&GuestFile::with_records(&code), &config(vmm))
}

fn a_panic_and_its_message_arrive(vmm: Vmm) {
    let records = ["panic src/x.rs:1:2: no", "exit 101"];
    let (report, console) = run_with_records(vmm, &records, &exit(101));
    assert_eq!(report.outcome, Outcome::Panicked("src/x.rs:1:2: no".into()));
    assert_eq!(console, "ab");
}

fn an_exception_and_figures_arrive(vmm: Vmm) {
    let records = ["stat polls 7", "stat halted_ns 9", "exception page fault"];
    let (report, console) = run_with_records(vmm, &records, &exit(102));
    assert_eq!(report.outcome, Outcome::Faulted("page fault".into()));
    assert_eq!(report.stats, [("polls".into(), 7), ("halted_ns".into(), 9)]);
    assert_eq!(console, "ab");
}

fn a_code_arrives_if_the_guest_reports_it(vmm: Vmm) {
    for (message, code, expected) in [
        ("exit 0", 0, Outcome::Exited(0)),
        ("exit 7", 7, Outcome::Exited(7)),
        // The port carries no code above 111.
        ("exit 200", 111, Outcome::Exited(200)),
    ] {
        let (report, _) = run_with_records(vmm, &[message], &exit(code));
        assert_eq!(report.outcome, expected);
    }
    for (message, code) in [
        (&["exit 1"][..], 0),
        (&["exit 256"], 0),
        (&[], 0),
        (&[], 47),
    ] {
        let (report, _) = run_with_records(vmm, message, &exit(code));
        match report.outcome {
            // Only the guest writes to the port of our own VMM.
            Outcome::Exited(found) => assert_eq!((vmm, found), (KVM, code.into())),
            Outcome::Died(reason) => assert!(reason.contains("did not report"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    let (report, _) = run_with_records(vmm, &["exit 0"], &triple_fault());
    assert!(matches!(report.outcome, Outcome::TripleFault { .. }));
}

fn arguments_follow_the_nonce(vmm: Vmm) {
    let mut config = config(vmm);
    config.arguments = "a=\"b c\"  é".into();
    let code = crate::guests::print_arguments(vmm == KVM);
    let (_, console) = launch_guest(&GuestFile::with_records(&code), &config);
    let (nonce, arguments) = dormir_abi::record::Nonce::split_off(console.as_bytes());
    assert!(nonce.is_some(), "{console}");
    assert_eq!(arguments, config.arguments.as_bytes());
    let (_, other) = launch_guest(&GuestFile::with_records(&code), &config);
    assert_ne!(console, other, "each run has another");
}

/// For example a guest that logs received data.
const FORGED: &str =
    "\x1epanic src/x.rs:1:2: no\n\x1e0123456789abcdef exit 0\n\x1e0123456789abcdef stat polls 7\n";

fn text_cannot_be_taken_for_a_record(vmm: Vmm) {
    let code = [
        print(FORGED.as_bytes()),
        record(vmm == KVM, "exit 3"),
        exit(3),
    ]
    .concat();
    let (report, console) = launch_guest(&GuestFile::with_records(&code), &config(vmm));
    assert_eq!(report.outcome, Outcome::Exited(3));
    assert_eq!(report.stats, []);
    assert_eq!(console, FORGED);
}

fn of_a_foreign_guest_all_is_text(vmm: Vmm) {
    let code = [print(FORGED.as_bytes()), exit(3)].concat();
    let (report, console) = launch(&code, &config(vmm));
    assert_eq!(report.outcome, Outcome::Exited(3));
    assert_eq!(report.stats, []);
    assert_eq!(console, FORGED);
}

/// JSON text sequences begin each record with the same byte (RFC 7464).
fn a_marked_line_is_text(vmm: Vmm) {
    let text = "plain\n\x1e{\"level\":\"info\"}\n\x1e\x1e\n\x1estat x 5\nlast\x1e";
    let code = [
        print(text.as_bytes()),
        record(vmm == KVM, "exit 0"),
        exit(0),
    ]
    .concat();
    let (report, console) = launch_guest(&GuestFile::with_records(&code), &config(vmm));
    assert_eq!(report.outcome, Outcome::Exited(0));
    assert_eq!(console, text);
}

fn no_value_of_32_bits_but_one_is_success(vmm: Vmm) {
    for value in [0x90, 0x110, 0x1_0010, 0x8000_0010, u32::MAX, 0x7f, 0x8f] {
        // Under QEMU only seven bits of a foreign guest's value are known.
        if vmm == KVM {
            let outcome = outcome(&exit_with_value(value), vmm);
            assert!(!outcome.is_success(), "{value:#x}: {outcome:?}");
        }
        for message in [&[][..], &["exit 1"], &["exit 256"], &["exit -2147483648"]] {
            let (report, _) = run_with_records(vmm, message, &exit_with_value(value));
            assert!(
                !report.outcome.is_success(),
                "{value:#x}: {:?}",
                report.outcome
            );
        }
    }
}

fn a_guests_text_is_escaped(vmm: Vmm) {
    let records = [
        "stat \x1b[2Jx 1",
        "panic \x1b[32m100 passed\r\x1b]0;title\x07",
    ];
    let (report, _) = run_with_records(vmm, &records, &exit(101));
    assert_eq!(report.stats, [("\\u{1b}[2Jx".into(), 1)]);
    let sentence = report.outcome.to_string();
    assert!(!sentence.contains(char::is_control), "{sentence:?}");
    assert!(sentence.contains("\\u{1b}[32m100 passed\\r"), "{sentence}");
}

fn data_arrive_by_name(vmm: Vmm) {
    let records = [
        "data b.bin 00ff",
        "data empty ",
        "data a 61",
        "data b.bin 7f",
        // Not names of files in a folder, or not bytes.
        "data ../c 00",
        "data /c 00",
        "data .c 00",
        "data c 0",
        "exit 0",
    ];
    let (report, _) = run_with_records(vmm, &records, &exit(0));
    assert_eq!(report.outcome, Outcome::Exited(0));
    let names: Vec<&str> = report.data.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["b.bin", "empty", "a"]);
    assert_eq!(report.sent("b.bin"), Some(&[0, 0xff, 0x7f][..]));
    assert_eq!(report.sent("empty"), Some(&[][..]));
    assert_eq!((report.sent("c"), report.data_dropped), (None, 0));
}
