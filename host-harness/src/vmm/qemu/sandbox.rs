//! QEMU's own filter of its system calls, where it has no gate: it starts no program and gets no
//! more rights, but opens what it likes.

use std::ffi::OsString;

use super::VERSION_TIMEOUT;
use crate::{
    process::{self, Keep, Scope},
    stop::StopToken,
};

const OPTION: &str = "-sandbox";

const FORBIDDEN: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// The arguments for it: none where QEMU has a gate, or was built without a filter.
pub(super) fn arguments(program: &OsString) -> Vec<&'static str> {
    if process::has_gates() || !is_had(program) {
        return Vec::new();
    }
    vec![OPTION, FORBIDDEN]
}

/// Whether this QEMU takes the option: its help lists it also where it was built without.
fn is_had(program: &OsString) -> bool {
    let mut command = super::command_of(program);
    command.args([OPTION, FORBIDDEN, "-machine", "help"]);
    let (never, scope) = (StopToken::default(), Scope::Group);
    let tried = process::capture(&mut command, Keep::Both, scope, VERSION_TIMEOUT, &never);
    tried.is_ok_and(|tried| tried.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn a_qemu_that_was_built_without_a_filter_is_not_asked_for_one() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let program = folder.path().join("qemu");
        let refuses = "#!/bin/sh\necho '-sandbox support is not enabled' >&2\nexit 1\n";
        fs::write(&program, refuses).expect("a script is written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
        assert!(!is_had(&program.into()));
        // Distributions build it with one.
        assert!(is_had(&"qemu-system-x86_64".into()));
    }
}
