//! What is refused before a guest runs, and what is known without one.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use dormir_harness::vmm::{self, Outcome, RunConfig, RunError, Vmm, run};

use crate::{
    KVM, TCG_Q35, config,
    guests::{self, Guest, exit},
    launch,
    leftovers::passes_alone,
    small_elf,
};

#[test]
fn what_cannot_run_is_refused_within_two_seconds_by_every_vmm() {
    let no_note = {
        let mut file = small_elf::SmallElf::new(&exit(0));
        file.segments.pop();
        file.header.e_entry = object::U64::default();
        guests::write(&file.bytes())
    };
    let guest = Guest::new(&exit(0));
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
        assert!(tiny.contains("2 to 3072"), "{tiny}");
        let huge = refusal(guest.path(), &|config| config.memory_mib = 3073);
        assert!(huge.contains("--memory"), "{huge}");
        let long = refusal(guest.path(), &|config| config.arguments = "x".repeat(4096));
        assert!(long.contains("4096"), "{long}");
        let nul = refusal(guest.path(), &|config| config.arguments = "\0".into());
        assert!(nul.contains("NUL"), "{nul}");
    }
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
    let guest = Guest::new(&exit(0));
    let error = run(guest.path(), &config, &mut io::sink()).expect_err("KVM cannot count");
    assert!(matches!(error, RunError::CannotCountInstructions { .. }));
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

#[test]
fn a_missing_qemu_is_named() {
    passes_alone(
        "refusals::helper_without_qemu",
        (vmm::qemu::PROGRAM_VARIABLE, "no-such-qemu"),
    );
}

#[test]
#[ignore = "run by a_missing_qemu_is_named"]
fn helper_without_qemu() {
    let guest = Guest::new(&exit(0));
    let errors = [
        vmm::qemu::probe().expect_err("there is no such program"),
        run(guest.path(), &config(TCG_Q35), &mut io::sink()).expect_err("there is no such program"),
    ];
    for error in errors {
        assert!(matches!(error, RunError::QemuMissing { .. }), "{error}");
        assert!(error.to_string().contains("no-such-qemu"), "{error}");
    }
}
