//! Behaviour that is the same under every VMM. Each case is one test per VMM.

use std::{
    io::{self, Write},
    thread::{sleep, spawn},
    time::{Duration, Instant},
};

use dormir_harness::vmm::{MachineType, Outcome, Vmm, run};

use crate::{
    KVM, PATIENCE, TCG_Q35, config,
    guests::{self, GuestFile, SPIN, exit, exit_with_value, print, triple_fault},
    launch, outcome, small_elf,
};

under_every_vmm! {
    a_guest_prints_and_ends
    every_exit_code_arrives
    arguments_arrive_unchanged
    a_triple_fault_is_one
    a_power_off_is_one
    a_guest_that_spins_is_timed_out
    a_guest_that_halts_forever_is_timed_out
    a_flood_is_stopped_at_the_limit
    a_run_is_stopped_from_another_thread
    a_closed_console_ends_the_run
    an_unknown_exit_value_is_a_failure
    an_instruction_that_kvm_cannot_emulate_is_named
    what_is_printed_last_is_not_lost
}

fn a_guest_prints_and_ends(vmm: Vmm) {
    let (report, console) = launch(&[print(b"hi\nthere"), exit(0)].concat(), &config(vmm));
    assert_eq!(report.outcome, Outcome::Exited(0));
    assert_eq!(console, "hi\nthere");
    assert!(report.wall > Duration::ZERO && report.wall < PATIENCE);
    assert_eq!(report.counters.is_some(), vmm == KVM);
}

fn every_exit_code_arrives(vmm: Vmm) {
    for code in [1, 2, 42, 111] {
        assert_eq!(outcome(&exit(code), vmm), Outcome::Exited(code.into()));
    }
}

fn arguments_arrive_unchanged(vmm: Vmm) {
    let mut config = config(vmm);
    config.arguments = "timer=pit,x a=\"b c\" -- %s \\ é".into();
    let (report, console) = launch(&guests::print_arguments(vmm == KVM), &config);
    assert_eq!(report.outcome, Outcome::Exited(0));
    assert_eq!(console, config.arguments);
}

fn a_triple_fault_is_one(vmm: Vmm) {
    let (report, console) = launch(&[print(b"hi"), triple_fault()].concat(), &config(vmm));
    assert_eq!(console, "hi");
    match report.outcome {
        Outcome::TripleFault {
            registers: Some(registers),
        } => {
            assert_eq!(vmm, KVM);
            // `ud2` comes after two moves and two writes of two bytes each. (An AMD processor
            // resets the vCPU first.)
            let places = ["0x0000000000100008", "0x000000000000fff0"];
            assert!(
                places.iter().any(|place| registers.contains(place)),
                "{registers}"
            );
            assert!(registers.contains("cr3"), "{registers}");
        }
        Outcome::TripleFault { registers: None } => assert_ne!(vmm, KVM),
        other => panic!("{other:?}"),
    }
}

/// ACPI exists only on q35.
fn a_power_off_is_one(vmm: Vmm) {
    // mov dx, 0x604; mov ax, 0x2000; out dx, ax: powers off
    let mut code = vec![0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef];
    if let Vmm::Qemu(_, MachineType::Q35) = vmm {
        code.extend(SPIN);
        assert_eq!(outcome(&code, vmm), Outcome::PoweredOff);
    } else {
        code.extend(exit(5));
        assert_eq!(outcome(&code, vmm), Outcome::Exited(5));
    }
}

fn times_out(code: &[u8], vmm: Vmm) -> Option<String> {
    let mut config = config(vmm);
    // The guest must have reached its final state, even on a busy machine; QEMU's firmware runs
    // before it.
    let limit = Duration::from_millis(if vmm == KVM { 1000 } else { 1500 });
    config.timeout = limit;
    let started = Instant::now();
    let (report, _) = launch(code, &config);
    assert!(started.elapsed() >= limit);
    assert!(started.elapsed() < limit + Duration::from_secs(15));
    match report.outcome {
        Outcome::TimedOut { limit: told, place } => {
            assert_eq!(told, limit);
            place
        }
        other => panic!("{other:?}"),
    }
}

fn a_guest_that_spins_is_timed_out(vmm: Vmm) {
    let place = times_out(SPIN, vmm);
    if vmm == KVM {
        assert_eq!(place.as_deref(), Some("running at 0x100000"));
    }
}

fn a_guest_that_halts_forever_is_timed_out(vmm: Vmm) {
    let place = times_out(&[0x90, 0xf4, 0xeb, 0xfd], vmm);
    if vmm == KVM {
        let expected = "halted at 0x100001 with interrupts masked";
        assert_eq!(place.as_deref(), Some(expected));
    }
}

fn a_flood_is_stopped_at_the_limit(vmm: Vmm) {
    let mut config = config(vmm);
    config.console_limit = 100;
    // mov al, 'x'; again: out 0xe9, al; jmp again
    let (report, console) = launch(&[0xb0, b'x', 0xe6, 0xe9, 0xeb, 0xfc], &config);
    assert_eq!(report.outcome, Outcome::ConsoleFlooded { limit: 100 });
    assert_eq!(console, "x".repeat(100));
}

fn a_run_is_stopped_from_another_thread(vmm: Vmm) {
    let config = config(vmm);
    let stop = config.stop.clone();
    let stopper = spawn(move || {
        sleep(Duration::from_millis(100));
        stop.stop();
    });
    let started = Instant::now();
    let (report, _) = launch(SPIN, &config);
    assert_eq!(report.outcome, Outcome::Stopped);
    assert!(started.elapsed() < Duration::from_secs(15));
    stopper.join().expect("it only stops the run");
}

struct ClosedPipe;

impl Write for ClosedPipe {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn a_closed_console_ends_the_run(vmm: Vmm) {
    let guest = GuestFile::new(&[print(b"hi"), SPIN.to_vec()].concat());
    let report = run(guest.path(), &config(vmm), &mut ClosedPipe).expect("it runs");
    assert_eq!(report.outcome, Outcome::ConsoleClosed);
}

fn an_unknown_exit_value_is_a_failure(vmm: Vmm) {
    for value in [0, 1, 0xf] {
        let outcome = outcome(&exit_with_value(value), vmm);
        assert!(matches!(outcome, Outcome::Died(_)), "{value}: {outcome:?}");
    }
}

fn an_instruction_that_kvm_cannot_emulate_is_named(vmm: Vmm) {
    let popcnt = [0xf3, 0x0f, 0xb8, 0xc0];
    match outcome(&[&popcnt, &exit(0)[..]].concat(), vmm) {
        // KVMs differ in which instructions they lack; with hardware support, none.
        Outcome::Exited(0) => {}
        Outcome::NotEmulated { address, bytes } => {
            assert_ne!(vmm, TCG_Q35);
            assert_eq!(address, small_elf::CODE_ADDRESS);
            assert_eq!(bytes[..4], popcnt);
        }
        other => panic!("{other:?}"),
    }
}

fn what_is_printed_last_is_not_lost(vmm: Vmm) {
    let (report, console) = launch(&guests::print_many(b'y', 20_000), &config(vmm));
    assert_eq!(report.outcome, Outcome::Exited(0));
    assert_eq!(console.len(), 20_000);
}
