//! What a worker gives up before its guest runs. Its gate keeps it from system calls; this holds
//! where there is no gate, too, and bounds what it uses.

use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
    Scope,
};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::set_no_new_privs,
};

/// The most files that a worker may have open whose guest has no sockets: each of seven devices has
/// a file or a socket, a poll, and an event for each queue, for its interrupt and for its end.
const FILES: u64 = 128;

/// The most bytes of addresses that a worker takes beside its guest's memory. Most of them are
/// those of programs with debug information.
const ADDRESSES: u64 = 2 << 30;

/// The least that a file may grow to: its messages are a pipe, so this is for nothing.
const FILE_BYTES: u64 = 4096;

/// The newest interface of Landlock that is used. On an older kernel what it lacks is left out.
const LANDLOCK: ABI = ABI::V6;

/// Leaves this process what it has open, and the threads that it will start. Files are written up to
/// this size.
pub(super) fn to_what_is_open(has_sockets: bool, largest_file: u64) -> io::Result<()> {
    set_no_new_privs(true)?;
    // A dump would be a file with the guest's memory.
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, largest_file.max(FILE_BYTES))?;
    if !has_sockets {
        limit(Resource::Nofile, FILES)?;
    }
    lock_files().map_err(io::Error::other)
}

/// Bounds the memory that this process takes beside that of its guest, which it has.
pub(super) fn memory(of_guest: u64) -> io::Result<()> {
    limit(Resource::As, of_guest.saturating_add(ADDRESSES))
}

/// Lowers a limit for good.
fn limit(resource: Resource, to: u64) -> io::Result<()> {
    let now = getrlimit(resource);
    let lowered = |known: Option<u64>| Some(known.map_or(to, |known| known.min(to)));
    let limit = Rlimit {
        current: lowered(now.current),
        maximum: lowered(now.maximum),
    };
    Ok(setrlimit(resource, limit)?)
}

/// Allows no path, no port of TCP, and no way to other processes by names or signals.
fn lock_files() -> Result<(), RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .restrict_self()?;
    Ok(())
}

#[cfg(test)]
mod tests;
