//! The file that QEMU loads.

use std::{
    fs::File,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process,
};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::vmm::{
    RunError,
    image::{Image, ImageFile},
    limit::{Limit, Unstarted},
};

/// An ELF file in memory with what was checked of an image, and nothing else: QEMU reads it by itself, and
/// not everything as we do. It is gone when this process is.
pub(super) struct Kernel {
    path: PathBuf,
    _file: File,
}

impl Kernel {
    /// Copies the image's segments.
    pub(super) fn new(
        image: &Image<ImageFile>,
        entry: u32,
        limit: &Limit<'_>,
    ) -> Result<Self, Unstarted> {
        let file = memfd_create("guest", MemfdFlags::CLOEXEC);
        let mut file = File::from(file.map_err(|error| RunError::Resource {
            what: "a file in memory for QEMU to read",
            cause: error.into(),
        })?);
        image.write_elf(entry, limit, &mut file)?;
        // Of this process, so that no other program that is started meanwhile gets it.
        let path = format!("/proc/{}/fd/{}", process::id(), file.as_raw_fd());
        Ok(Self {
            path: path.into(),
            _file: file,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
