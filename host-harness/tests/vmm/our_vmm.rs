//! What only the harness's own VMM can do.

use std::{
    io::{self, Write},
    time::Duration,
};

use dormir_harness::vmm::{Outcome, StopToken, run};

use crate::{
    KVM, config,
    guests::{
        CONSOLE_BUFFER_BEYOND_MEMORY, Guest, HALT, HELLO_FROM_A_BUFFER, HELLO_FROM_THE_SERIAL_LINE,
        SPIN, exit, print,
    },
    launch, outcome,
};

#[test]
fn kvm_output_comes_before_the_guest_ends() {
    struct Stopper(StopToken);
    impl Write for Stopper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.stop();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let config = config(KVM);
    let guest = Guest::new(&[print(b"x"), SPIN.to_vec()].concat());
    let report = run(guest.path(), &config, &mut Stopper(config.stop.clone())).expect("it runs");
    assert_eq!(report.outcome, Outcome::Stopped);
}

#[test]
fn kvm_takes_console_output_from_memory_and_from_the_serial_line() {
    for guest in [HELLO_FROM_A_BUFFER, HELLO_FROM_THE_SERIAL_LINE] {
        let (report, console) = launch(guest, &config(KVM));
        assert_eq!(report.outcome, Outcome::Exited(0));
        assert_eq!(console, "hello");
    }
}

#[test]
fn kvm_counts_exits_and_halts() {
    let (report, _) = launch(&[print(b"hi"), exit(0)].concat(), &config(KVM));
    let counters = report.counters.expect("our VMM counts");
    assert!(counters.userspace_exits >= 3, "{counters:?}");
    assert_eq!(counters.halt_exits, Some(0), "{counters:?}");

    let mut config = config(KVM);
    config.timeout = Duration::from_secs(1);
    let (report, _) = launch(HALT, &config);
    let counters = report.counters.expect("our VMM counts");
    assert_eq!(counters.halt_exits, Some(1), "{counters:?}");
}

#[test]
fn kvm_names_what_a_guest_did_wrong() {
    let nowhere = [0xb8, 0, 0, 0, 0x10, 0x8b, 0x00]; // mov eax, 0x10000000; mov eax, [rax]
    let jump = [0xb8, 0, 0, 0, 0x10, 0xff, 0xe0]; // mov eax, 0x10000000; jmp rax
    let buffer = CONSOLE_BUFFER_BEYOND_MEMORY;
    for (guest, word) in [
        (&nowhere[..], "read"),
        (&jump, "0x10000000"),
        (buffer, "buffer"),
    ] {
        match outcome(guest, KVM) {
            Outcome::Died(reason) => assert!(reason.contains(word), "{reason}"),
            other => panic!("{word}: {other:?}"),
        }
    }
}

#[test]
fn kvm_runs_guests_of_the_least_and_of_the_most_memory() {
    for memory_mib in [2, 3072] {
        let mut config = config(KVM);
        config.memory_mib = memory_mib;
        assert_eq!(launch(&exit(0), &config).0.outcome, Outcome::Exited(0));
    }
}

#[test]
fn kvm_runs_a_guest_with_a_pit() {
    let mut config = config(KVM);
    config.pit = true;
    assert_eq!(launch(&exit(0), &config).0.outcome, Outcome::Exited(0));
}
