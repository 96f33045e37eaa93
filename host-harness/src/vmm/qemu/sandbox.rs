//! QEMU's own filter of its system calls, where it has no gate: it starts no program and gets no
//! more rights, but opens what it likes.

use std::{ffi::OsString, process::Command};

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

/// Whether this QEMU has the option: it lists those that it was built with.
fn is_had(program: &OsString) -> bool {
    let mut command = Command::new(program);
    command.arg("-help");
    let (never, scope) = (StopToken::default(), Scope::Group);
    let listed = process::capture(
        &mut command,
        Keep::StdoutOnly,
        scope,
        VERSION_TIMEOUT,
        &never,
    );
    listed.is_ok_and(|listed| {
        let mut lines = listed.output.lines();
        lines.any(|line| line.starts_with(OPTION))
    })
}
