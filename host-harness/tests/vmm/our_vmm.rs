//! Features that only the harness's own VMM has.

use std::{
    io::{self, Write},
    time::Duration,
};

use dormir_harness::vmm::{EventKind, Outcome, RunConfig, StopToken, run};

use crate::{
    KVM, config,
    guests::{
        CONSOLE_BUFFER_BEYOND_MEMORY, GuestFile, HALT, HELLO_FROM_A_BUFFER,
        HELLO_FROM_THE_SERIAL_LINE, SPIN, exit, print,
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
    let guest = GuestFile::new(&[print(b"x"), SPIN.to_vec()].concat());
    let report = run(guest.path(), &config, &mut Stopper(config.stop.clone())).expect("it runs");
    assert_eq!(report.outcome, Outcome::Stopped);
    // What was counted is not lost.
    assert!(report.counters.is_some());
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
    for memory_mib in [2, 3073, 61440] {
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

/// 64-bit: starts the steps, executes some instructions that leave the processor and some that do
/// not, ends the steps, and ends with code 0.
const STEPS: &[u8] = &[
    0xbc, 0, 0, 0x09, 0, // mov esp, 0x90000
    0x66, 0xba, 0xf8, 0x05, // mov dx, 0x5f8
    0xb8, 0x30, 0, 0, 0,    // mov eax, 0x30
    0xef, // out dx, eax: steps from here on
    0x66, 0x87, 0xdb, // 0: xchg bx, bx
    0xe4, 0x61, // 1: in al, 0x61
    0xe6, 0x40, // 2: out 0x40, al
    0xbe, 0x80, 0x03, 0xe0, 0xfe, // 3: mov esi, 0xfee00380, which is no access
    0xe8, 0, 0, 0, 0,    // 4: call the next instruction
    0x5f, // 5: pop rdi
    0xb9, 0x1b, 0, 0, 0, // 6: mov ecx, 0x1b
    0x0f, 0x32, // 7: rdmsr
    0x0f, 0x30, // 8: wrmsr
    0x0f, 0x31, // 9: rdtsc
    0x89, 0xc3, // 10: mov ebx, eax
    0x0f, 0x31, // 11: rdtsc
    0x39, 0xd8, // 12: cmp eax, ebx
    0x74, 0x01, // 13: je over the next
    0x90, // nop
    0x66, 0xba, 0xf8, 0x05, // 14: mov dx, 0x5f8
    0x31, 0xc0, // 15: xor eax, eax
    0xef, // 16: out dx, eax: no steps any more
    0x66, 0x87, 0xdb, // xchg bx, bx
    0xb8, 0x10, 0, 0, 0, 0xe7, 0xf4, 0xf4, // end with code 0
];

#[test]
fn kvm_steps_through_what_the_guest_asks_for() {
    let mut config = config(KVM);
    let guest = GuestFile::new(STEPS);
    let launch = |config: &RunConfig| run(guest.path(), config, &mut io::sink()).expect("it runs");
    let report = launch(&config);
    assert_eq!(report.outcome, Outcome::Exited(0));
    assert_eq!(report.stretches, [], "only if that is allowed");

    config.steps = true;
    let report = launch(&config);
    assert_eq!(report.outcome, Outcome::Exited(0));
    let [stretch] = &report.stretches[..] else {
        panic!("one stretch: {:?}", report.stretches);
    };
    let first = stretch.addresses[0];
    let offsets: Vec<u64> = stretch.addresses.iter().map(|at| at - first).collect();
    assert_eq!(
        offsets,
        [
            0, 3, 5, 7, 12, 17, 18, 23, 25, 27, 29, 31, 33, 35, 38, 42, 44
        ],
        "and the clock stands"
    );
    let events: Vec<_> = stretch
        .events
        .iter()
        .map(|event| (event.at, event.kind))
        .collect();
    assert_eq!(
        events,
        [
            (0, EventKind::Mark),
            (1, EventKind::PortRead(0x61)),
            (2, EventKind::PortWrite(0x40)),
            (7, EventKind::MsrRead(0x1b)),
            (8, EventKind::MsrWrite(0x1b)),
            (16, EventKind::PortWrite(0x5f8)),
        ]
    );
}

#[test]
fn kvm_refuses_steps_for_an_invalid_vector() {
    let mut guest = STEPS.to_vec();
    guest[11] = 1; // mov eax, 0x130
    let mut config = config(KVM);
    config.steps = true;
    match launch(&guest, &config).0.outcome {
        Outcome::Died(reason) => assert!(reason.contains("0x130"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn kvm_names_an_interrupt_table_at_the_end_of_all_addresses() {
    let guest = [
        0xbc, 0, 0, 0x09, 0, // mov esp, 0x90000
        0x0f, 0x01, 0x1c, 0x25, 0x20, 0x00, 0x10, 0x00, // lidt [0x100020]
        0x66, 0xba, 0xf8, 0x05, // mov dx, 0x5f8
        0xb8, 0xff, 0, 0, 0,    // mov eax, 0xff
        0xef, // out dx, eax: steps from here on
        0xf4, // hlt
        0, 0, 0, 0, 0, 0, 0, 0, // up to 0x100020
        0xff, 0x0f, // the table's limit, and its address
        0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ];
    let mut config = config(KVM);
    config.steps = true;
    match launch(&guest, &config).0.outcome {
        Outcome::Died(reason) => assert!(reason.contains("interrupt table"), "{reason}"),
        other => panic!("{other:?}"),
    }
}
