//! Errors before a guest runs, and facts that are known without one.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use dormir_harness::vmm::{self, Device, GdbListener, Outcome, RunConfig, RunError, Vmm, run};

use crate::{
    KVM, TCG_Q35, config,
    guests::{self, GuestFile, exit},
    launch, small_elf,
};

#[test]
fn what_cannot_run_is_refused_within_two_seconds_by_every_vmm() {
    let no_note = {
        let mut file = small_elf::SmallElf::new(&exit(0));
        file.segments.pop();
        file.header.e_entry = object::U64::default();
        guests::write(&file.bytes())
    };
    let guest = GuestFile::new(&exit(0));
    for vmm in Vmm::ALL {
        let refusal = |elf: &Path, change: &dyn Fn(&mut RunConfig)| {
            let mut config = config(vmm);
            change(&mut config);
            let started = Instant::now();
            let error = run(elf, &config, &mut io::sink()).expect_err("it is refused");
            assert!(started.elapsed() < Duration::from_secs(2));
            error.to_string()
        };
        let nothing = |_: &mut RunConfig| {};
        assert!(refusal(Path::new("/nonexistent"), &nothing).contains("no such file"));
        assert!(refusal(no_note.path(), &nothing).contains("no entry for"));
        let tiny = refusal(guest.path(), &|config| config.memory_mib = 1);
        assert!(tiny.contains("2 to 61440"), "{tiny}");
        let huge = refusal(guest.path(), &|config| config.memory_mib = 61441);
        assert!(huge.contains("--memory"), "{huge}");
        let long = refusal(guest.path(), &|config| config.arguments = "x".repeat(4096));
        assert!(long.contains("4096"), "{long}");
        let nul = refusal(guest.path(), &|config| config.arguments = "\0".into());
        assert!(nul.contains("NUL"), "{nul}");
    }
    let mut config = RunConfig::new(Vmm::Kvm);
    config.steps = true;
    config.gdb = Some(GdbListener::bind(0).expect("a port is free"));
    let both = run(guest.path(), &config, &mut io::sink()).expect_err("it is refused");
    assert!(matches!(both, RunError::StepsWithDebugger), "{both}");

    let mut config = RunConfig::new(Vmm::Kvm);
    config.gdb = Some(GdbListener::bind(0).expect("a port is free"));
    config.devices = vec![Device::Net {
        forwards: Vec::new(),
        restrict: false,
    }];
    let both = run(guest.path(), &config, &mut io::sink()).expect_err("it is refused");
    assert!(matches!(both, RunError::NetworkWithDebugger), "{both}");
    // One that only answers does not reach the debugger's port.
    config.devices = vec![Device::Net {
        forwards: Vec::new(),
        restrict: true,
    }];
    config.stop.stop();
    let report = run(guest.path(), &config, &mut io::sink()).expect("it is not refused");
    assert_eq!(report.outcome, Outcome::Stopped);
}

#[test]
fn an_endless_segment_of_notes_blocks_nothing() {
    let mut file = small_elf::SmallElf::new(&exit(0)).bytes();
    // The second program header is that of the notes: its offset and size in the file.
    let header = size_of::<object::elf::FileHeader64<object::Endianness>>()
        + size_of::<object::elf::ProgramHeader64<object::Endianness>>();
    let (offset, size) = (1_u64 << 20, 3_u64 << 30);
    file[header + 8..header + 16].copy_from_slice(&offset.to_le_bytes());
    file[header + 32..header + 40].copy_from_slice(&size.to_le_bytes());
    let guest = guests::write(&file);
    guest
        .as_file()
        .set_len(offset + size)
        .expect("a file with a hole");
    let started = Instant::now();
    let report = run(guest.path(), &config(KVM), &mut io::sink()).expect("it needs no notes");
    assert_eq!(report.outcome, Outcome::Exited(0));
    assert!(run(guest.path(), &config(TCG_Q35), &mut io::sink()).is_err());
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn counted_instructions_are_the_same_in_every_run_and_refused_elsewhere() {
    let mut config = config(TCG_Q35);
    config.count_instructions = true;
    let (first, second) = (
        launch(guests::PRINT_TSC_DIFFERENCE, &config),
        launch(guests::PRINT_TSC_DIFFERENCE, &config),
    );
    assert_eq!(first.0.outcome, Outcome::Exited(0));
    assert_eq!(first.1.len(), 1);
    assert_eq!(first.1, second.1);

    config.vmm = KVM;
    let guest = GuestFile::new(&exit(0));
    let error = run(guest.path(), &config, &mut io::sink()).expect_err("KVM cannot count");
    assert!(matches!(error, RunError::CannotCountInstructions { .. }));
}

#[test]
fn steps_are_refused_where_they_cannot_be() {
    let mut config = config(TCG_Q35);
    config.steps = true;
    let guest = GuestFile::new(&exit(0));
    let error = run(guest.path(), &config, &mut io::sink()).expect_err("QEMU does not step");
    assert!(matches!(error, RunError::CannotStep { .. }));
    assert!(error.to_string().contains("--vmm kvm"), "{error}");
}

#[test]
fn probes_say_what_is_here() {
    let info = vmm::kvm::probe().expect("KVM is usable");
    assert_eq!(info.module.is_some(), info.hardware_assisted.is_some());
    let version = vmm::qemu::probe().expect("QEMU is usable");
    assert!(
        version.starts_with(|first: char| first.is_ascii_digit()),
        "{version}"
    );
}
