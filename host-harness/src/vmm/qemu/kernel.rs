//! The ELF file that QEMU loads.

use std::{fs::File, os::fd::OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::vmm::{
    error::RunError,
    image::{Image, ImageFile},
    limit::{Limit, Unstarted},
};

/// Makes an ELF file in memory with the checked parts of an image only: QEMU parses ELF files in
/// its own way, not always as we do. Nobody changes it any more.
pub(super) fn file(
    image: &Image<ImageFile>,
    entry: u32,
    limit: &Limit<'_>,
) -> Result<OwnedFd, Unstarted> {
    let failed = |error: rustix::io::Errno| RunError::Resource {
        what: "a file in memory for QEMU to read",
        cause: error.into(),
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("guest", flags).map_err(failed)?);
    image.write_elf(entry, limit, &mut file)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, seals).map_err(failed)?;
    Ok(file.into())
}
