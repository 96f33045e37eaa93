use super::*;
use std::os::unix::process::ExitStatusExt;

const STARTED: MonitorEvents = MonitorEvents {
    started: true,
    shutdown: None,
};

fn ended(status: i32, stderr: &str, monitor_events: &MonitorEvents) -> Result<Outcome, RunError> {
    let messages = Messages::read(Some(stderr.as_bytes()), || {});
    ended_with(ExitStatus::from_raw(status), &messages, monitor_events)
}

fn exited(code: i32, stderr: &str) -> Result<Outcome, RunError> {
    ended(code << 8, stderr, &STARTED)
}

fn shut_down(reason: Shutdown) -> Outcome {
    let monitor_events = MonitorEvents {
        shutdown: Some(reason),
        ..STARTED
    };
    ended(0, "", &monitor_events).unwrap()
}

#[test]
fn only_thirty_three_is_a_success() {
    for code in 0..256 {
        let success = exited(code, "").is_ok_and(|outcome| outcome.is_success());
        assert_eq!(success, code == 33, "status {code}");
    }
}

#[test]
fn each_other_end_is_what_it_is() {
    assert_eq!(exited(35, "").unwrap(), Outcome::Exited(1));
    let fault = Outcome::TripleFault { registers: None };
    assert_eq!(shut_down(Shutdown::Reset), fault);
    assert_eq!(shut_down(Shutdown::PowerOff), Outcome::PoweredOff);
    assert!(matches!(shut_down(Shutdown::Other), Outcome::Died(_)));
    assert!(matches!(exited(0, ""), Ok(Outcome::Died(_))));
    assert!(matches!(exited(1, ""), Ok(Outcome::Died(_))));
}

#[test]
fn the_end_at_a_filter_of_system_calls_is_told() {
    let outcome = ended(libc::SIGSYS, "", &STARTED).unwrap().to_string();
    assert!(outcome.contains("asked for a system call,"), "{outcome}");
    assert!(outcome.contains("broken out"), "{outcome}");
}

/// For example if the loader lacks a library, or a script has QEMU's name.
#[test]
fn before_the_guest_runs_no_end_is_its_result() {
    let signals = 1..65;
    for status in signals.chain((0..256).map(|code| code << 8)) {
        let error = ended(status, "qemu: -m 1: bad\n", &MonitorEvents::default()).unwrap_err();
        let sentence = error.to_string();
        assert!(sentence.contains("-m 1: bad"), "{sentence}");
        assert!(
            sentence.contains(&ExitStatus::from_raw(status).to_string()),
            "{sentence}"
        );
    }
}

#[test]
fn a_signal_is_named_with_the_last_words() {
    // That of a filter of system calls has a sentence of its own.
    for signal in (1..65).filter(|signal| *signal != libc::SIGSYS) {
        let Ok(Outcome::Died(reason)) = ended(signal, "qemu: \x1b[32mno memory\n", &STARTED) else {
            panic!("signal {signal}");
        };
        assert!(
            reason.contains("last words: \\u{1b}[32mno memory"),
            "{reason}"
        );
        assert!(
            reason.contains(&ExitStatus::from_raw(signal).to_string()),
            "{reason}"
        );
    }
}

#[test]
fn a_code_counts_only_if_the_guest_reported_it() {
    let messages = Messages::default();
    let reported = |exit| {
        let mut records = GuestRecords::default();
        records.exit = exit;
        records
    };
    for code in [0, 1, 47, 111] {
        let ended = || Outcome::Exited(code);
        let outcome = confirmed_by_guest(ended(), &reported(Some(code)), &messages);
        assert_eq!(outcome, ended());
        for other in [None, Some(code + 1), Some(code - 256)] {
            let outcome = confirmed_by_guest(ended(), &reported(other), &messages);
            assert!(
                matches!(outcome, Outcome::Died(_)),
                "{other:?}: {outcome:?}"
            );
        }
    }
    let other = confirmed_by_guest(Outcome::Stopped, &reported(None), &messages);
    assert_eq!(other, Outcome::Stopped);
}
