//! What KVM counted for a vCPU: the binary statistics behind `KVM_GET_STATS_FD`.
//!
//! The file consists of a header, a table of descriptors with names, and the figures. Kernels
//! differ in which figures they have, so they are looked up by name.

use std::{
    fs::File,
    io,
    os::{fd::FromRawFd, unix::fs::FileExt},
};

use kvm_bindings::{KVMIO, kvm_stats_desc, kvm_stats_header};
use kvm_ioctls::VcpuFd;
use vmm_sys_util::{ioctl::ioctl, ioctl_io_nr};

use crate::vmm::report::VcpuCounters;

// kvm-ioctls does not offer this call.
ioctl_io_nr!(KVM_GET_STATS_FD, KVMIO, 0xce);

/// More names, or longer ones, than any kernel has: such a file is invalid.
const SANE_LIMIT: usize = 4096;

/// Reads the vCPU's counters; those that this kernel does not have are `None`.
pub(super) fn read(vcpu: &VcpuFd, userspace_exits: u64) -> VcpuCounters {
    let table = open(vcpu).and_then(|file| StatsTable::read(&file)).ok();
    let figure = |name| table.as_ref().and_then(|table| table.get(name));
    VcpuCounters {
        userspace_exits,
        halt_exits: figure("halt_exits"),
        irq_injections: figure("irq_injections"),
        emulated_instructions: figure("insn_emulation"),
    }
}

fn open(vcpu: &VcpuFd) -> io::Result<File> {
    // SAFETY: the call takes no argument, so it accesses no memory of ours; it fails on a kernel
    // that lacks it.
    let descriptor = unsafe { ioctl(vcpu, KVM_GET_STATS_FD()) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just created this descriptor for this call, so it has no other owner.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

/// The statistics of one vCPU.
struct StatsTable {
    figures: Vec<(String, u64)>,
}

impl StatsTable {
    fn read(file: &impl FileExt) -> io::Result<Self> {
        let mut header = [0; size_of::<kvm_stats_header>()];
        file.read_exact_at(&mut header, 0)?;
        let name_size = field(&header, std::mem::offset_of!(kvm_stats_header, name_size));
        let count = field(&header, std::mem::offset_of!(kvm_stats_header, num_desc));
        let table_offset = field(&header, std::mem::offset_of!(kvm_stats_header, desc_offset));
        let data_offset = field(&header, std::mem::offset_of!(kvm_stats_header, data_offset));
        if name_size > SANE_LIMIT || count > SANE_LIMIT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let entry_size = size_of::<kvm_stats_desc>() + name_size;
        let mut table = vec![0; entry_size * count];
        file.read_exact_at(&mut table, table_offset as u64)?;
        let figures = table.chunks_exact(entry_size).map(|entry| {
            let (descriptor, name) = entry.split_at(size_of::<kvm_stats_desc>());
            let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
            let offset = field(descriptor, std::mem::offset_of!(kvm_stats_desc, offset));
            // The first figure; only histograms have more.
            let mut figure = [0; 8];
            file.read_exact_at(&mut figure, (data_offset + offset) as u64)?;
            let name = String::from_utf8_lossy(name).into_owned();
            Ok((name, u64::from_le_bytes(figure)))
        });
        Ok(Self {
            figures: figures.collect::<io::Result<_>>()?,
        })
    }

    fn get(&self, name: &str) -> Option<u64> {
        let found = self.figures.iter().find(|(known, _)| known == name);
        found.map(|(_, figure)| *figure)
    }
}

/// Returns the 32-bit field at `offset` of a structure that is long enough to hold it.
fn field(structure: &[u8], offset: usize) -> usize {
    let bytes = structure[offset..].first_chunk().copied();
    u32::from_le_bytes(bytes.unwrap_or_default()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes(Vec<u8>);

    impl FileExt for Bytes {
        fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
            let from = self.0.get(offset as usize..).unwrap_or_default();
            let length = from.len().min(to.len());
            to[..length].copy_from_slice(&from[..length]);
            Ok(length)
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    fn file() -> Bytes {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut bytes: Vec<u8> = words(&[0, 16, 2, 24, 32, 96]);
        bytes.extend(b"kvm-1\0\0\0");
        for (name, offset) in [(b"exits\0----------", 0), (b"halt_exits\0-----", 8)] {
            bytes.extend::<Vec<u8>>(words(&[0, 0x0001_0000, offset, 0]));
            bytes.extend(name);
        }
        bytes.extend(7_u64.to_le_bytes());
        bytes.extend(9_u64.to_le_bytes());
        Bytes(bytes)
    }

    #[test]
    fn figures_are_found_by_name() {
        let table = StatsTable::read(&file()).unwrap();
        assert_eq!(table.get("exits"), Some(7));
        assert_eq!(table.get("halt_exits"), Some(9));
        assert_eq!(table.get("halt"), None);
    }

    #[test]
    fn a_short_or_senseless_file_is_an_error() {
        let whole = file().0;
        for length in 0..whole.len() {
            assert!(StatsTable::read(&Bytes(whole[..length].to_vec())).is_err());
        }
        assert!(StatsTable::read(&Bytes(vec![0xff; 256])).is_err());
    }
}
