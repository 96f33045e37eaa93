use super::*;

#[test]
fn the_documentation_has_the_same_guest_flags() {
    let documented = include_str!("../../../docs/hyperlight.md");
    let flags = GUEST_FLAGS.iter().map(|flag| format!("    \"{flag}\",\n"));
    let flags = format!("rustflags = [\n{}]\n", flags.collect::<String>());
    assert!(
        documented.replace("\n   ", "\n").contains(&flags),
        "{flags}"
    );
}

#[test]
fn a_runner_without_a_report_is_not_a_guests_end() {
    use std::os::unix::process::ExitStatusExt;
    let messages = Messages::read(Some(&b"\x1b[2Jno library\n"[..]), || {});
    for raw in (0..256).map(|code| code << 8).chain(1..65) {
        let status = ExitStatus::from_raw(raw);
        let sentence = match ended_with(status, None, &messages) {
            Ok(Outcome::Died(reason)) => reason,
            Ok(other) => panic!("{status}: {other:?}"),
            Err(error) => {
                assert_eq!(status.code(), Some(NOT_RUN));
                error.to_string()
            }
        };
        assert!(sentence.contains("\\u{1b}[2Jno library"), "{sentence}");
        let failed = ended_with(status, Some(0), &messages);
        assert_eq!(
            failed.is_ok_and(|outcome| outcome.is_success()),
            raw == 0,
            "{status}"
        );
    }
    for code in [0, 1, 111, 124, 256, -1, i32::MIN, i32::MAX] {
        let ended = ended_with(ExitStatus::from_raw(0), Some(code), &messages).unwrap();
        assert_eq!(ended, Outcome::Exited(code));
    }
}

#[test]
fn a_mode_is_known_by_its_name() {
    for mode in SandboxMode::ALL {
        assert_eq!(mode.to_string().parse(), Ok(mode));
    }
    let sentence = "kvm"
        .parse::<SandboxMode>()
        .expect_err("no mode")
        .to_string();
    assert!(sentence.contains("`kvm`"), "{sentence}");
}

/// Only KVM works, so no other VMM is advised.
#[test]
fn without_kvm_no_other_vmm_is_advised() {
    for error in [RunError::KvmMissing, RunError::KvmDenied] {
        let sentence = SandboxError::from(error).to_string();
        assert!(
            sentence.contains("Hyperlight") && sentence.contains("/dev/kvm"),
            "{sentence}"
        );
        assert!(!sentence.contains("qemu"), "{sentence}");
    }
}
