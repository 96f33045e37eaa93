//! Rights that a process gives up for good: capabilities, and what it may use of files.

use std::{io, os::unix::process::CommandExt, process::Command};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities},
};

/// What root, or a user like it, may need to start a program: to open files of any owner, and ports
/// below 1024.
pub(super) const OF_A_START: CapabilitySet = CapabilitySet::DAC_OVERRIDE
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::NET_BIND_SERVICE);

/// Leaves the calling thread, and what it starts, at most these capabilities. What it starts must
/// gain no privileges, or root's programs have all of them again. Only makes system calls.
pub(crate) fn keep_capabilities(kept: CapabilitySet) -> io::Result<()> {
    let now = capabilities(None)?;
    if (now.permitted | now.effective | now.inheritable) - kept == CapabilitySet::empty() {
        // A sandbox around this process may forbid to set any.
        return Ok(());
    }
    let kept = CapabilitySets {
        effective: now.effective & kept,
        permitted: now.permitted & kept,
        inheritable: now.inheritable & kept,
    };
    Ok(set_capabilities(None, kept)?)
}

/// Lowers a limit. Only makes system calls.
pub(crate) fn limit(resource: Resource, to: u64) -> io::Result<()> {
    let now = getrlimit(resource);
    let lowered = |known: Option<u64>| Some(known.map_or(to, |known| known.min(to)));
    let limit = Rlimit {
        current: lowered(now.current),
        maximum: lowered(now.maximum),
    };
    Ok(setrlimit(resource, limit)?)
}

/// Has the program of the command write no file beyond this size, and leave no dump, which would be
/// a file with its guest's memory.
pub(crate) fn limit_files(command: &mut Command, largest: u64) {
    let in_child = move || {
        limit(Resource::Core, 0)?;
        limit(Resource::Fsize, largest)
    };
    // SAFETY: between fork and exec only async-signal-safe functions may be called: the closure
    // makes only system calls.
    unsafe { command.pre_exec(in_child) };
}
