//! What a worker gives up before its guest runs. Its gate keeps it from system calls; this holds
//! where there is no gate, too, and bounds what it uses.

use std::{
    fs::File,
    io::{self, Read},
};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
    Scope,
};
use rustix::{
    param::page_size,
    process::Resource,
    thread::{CapabilitySet, set_no_new_privs},
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::process::{keep_capabilities, limit};

/// The most files that a worker may have open whose guest has no sockets: each of seven devices has
/// a file or a socket, a poll, and an event for each queue, for its interrupt and for its end.
const FILES: u64 = 128;

/// The same with sockets: a thousand connections, some that are being made, and 256 to spare.
const FILES_WITH_SOCKETS: u64 = 2048;

/// The most bytes of addresses that a worker takes once its machine is complete.
const ADDRESSES: u64 = 1 << 30;

/// How large a file may be where there is no disk. None is written then.
const FILE_BYTES: u64 = 4096;

/// The newest interface of Landlock that is used. On an older kernel what it lacks is left out.
const LANDLOCK: ABI = ABI::V6;

/// A process that is confined to what it has open.
pub(super) struct Confined {
    /// How much memory it has, in pages, is read from here: it was open before.
    sizes: File,
}

/// Leaves this process what it has open, and the threads that it will start. Files are written up
/// to this size.
pub(super) fn to_what_is_open(has_sockets: bool, largest_file: u64) -> io::Result<Confined> {
    let sizes = File::open("/proc/self/statm")?;
    set_no_new_privs(true)?;
    keep_capabilities(CapabilitySet::empty())?;
    // A dump would be a file with the guest's memory.
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, largest_file.max(FILE_BYTES))?;
    let files = match has_sockets {
        true => FILES_WITH_SOCKETS,
        false => FILES,
    };
    limit(Resource::Nofile, files)?;
    lock_files().map_err(io::Error::other)?;
    pass_nothing_on().map_err(io::Error::other)?;
    Ok(Confined { sizes })
}

impl Confined {
    /// Bounds the memory that this process takes beside what it has.
    pub(super) fn bound_memory(mut self) -> io::Result<()> {
        let mut sizes = String::new();
        self.sizes.read_to_string(&mut sizes)?;
        let pages = sizes.split(' ').next().and_then(|pages| pages.parse().ok());
        let pages: u64 = pages.ok_or(io::ErrorKind::InvalidData)?;
        let has = pages.saturating_mul(page_size() as u64);
        limit(Resource::As, has.saturating_add(ADDRESSES))
    }
}

/// Makes the system calls fail that give open files to other processes: as long as these hold them,
/// who waits for the end of a pipe waits for them. The gate cannot, since it comes by such a call.
fn pass_nothing_on() -> Result<(), seccompiler::Error> {
    let calls = [libc::SYS_sendmsg, libc::SYS_sendmmsg];
    let filter = SeccompFilter::new(
        calls.map(|number| (number, Vec::new())).into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.cast_unsigned()),
        TargetArch::x86_64,
    )?;
    seccompiler::apply_filter(&BpfProgram::try_from(filter)?)
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
