//! What `cargo vm fuzz` installs, on simulated machines made of scripts.

use crate::support::{FakeMachine, is_error_line, outcome, text};

/// A `rustup` that notes its calls. It has neither nightly nor cargo-fuzz until they are installed,
/// and the targets cannot be built.
fn machine() -> FakeMachine {
    let machine = FakeMachine::new();
    machine.script(
        "rustup",
        &format!(
            "log='{}'; echo $* >>$log; has() {{ grep -q \"$1\" $log; }}\n\
             case \"$*\" in *'rustc --version') has 'toolchain install';; \
             *'fuzz --version') has 'cargo install';; *'fuzz build'*) echo no compiler; exit 1;; \
             esac",
            text(&machine.log())
        ),
    );
    machine
}

#[test]
fn what_fuzzing_needs_is_announced_and_installed_once() {
    let machine = machine();
    let mut words = vec![
        "toolchain install nightly",
        "cargo install --locked --debug cargo-fuzz@",
    ];
    for _ in 0..2 {
        let (status, _, stderr) = outcome(machine.cargo_vm().args(["fuzz", "elf"]));
        assert_eq!(status, Some(125), "{stderr}");
        let announced = stderr.lines().filter(|line| line.contains("`rustup"));
        let announced: Vec<_> = announced.filter(|line| !is_error_line(line)).collect();
        assert_eq!(announced.len(), words.len(), "{stderr}");
        for (line, words) in announced.iter().zip(&words) {
            assert!(line.contains(words), "{line}");
        }
        assert!(stderr.contains("\n  no compiler\n"), "{stderr}");
        // Nothing is missing any more.
        words.clear();
    }
}

#[test]
fn without_installing_what_fuzzing_needs_is_named() {
    let machine = machine();
    let (status, _, stderr) = outcome(machine.cargo_vm().args(["fuzz", "--no-install"]));
    assert_eq!(status, Some(125), "{stderr}");
    let expected = "run `rustup toolchain install nightly --profile minimal`";
    assert!(
        is_error_line(&stderr) && stderr.contains(expected),
        "{stderr}"
    );
    assert_eq!(machine.logged(), "run nightly rustc --version\n");
}
