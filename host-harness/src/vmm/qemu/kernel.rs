//! The ELF file that QEMU loads.

use std::{
    fs::File,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process,
};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::vmm::{
    error::RunError,
    image::{Image, ImageFile},
    limit::{Limit, Unstarted},
};

/// An in-memory ELF file with the checked parts of an image only: QEMU parses ELF files in its own
/// way, not always as we do. The file is deleted with this process.
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
        // A path through this process, so that programs started meanwhile do not inherit the file.
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
