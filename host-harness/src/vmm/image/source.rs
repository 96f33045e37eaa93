//! The sources from which an image can be read.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::OFlags;

use super::error::ImageError;

/// A source of bytes at offsets. Nothing beyond `size` is ever read, so a file may grow meanwhile.
pub(in crate::vmm) trait Source {
    fn size(&self) -> u64;

    /// Fills `bytes` from `offset` on.
    fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
}

/// An open regular file: the file that was checked is the one that is loaded, even if the path
/// changes.
#[derive(Debug)]
pub(in crate::vmm) struct ImageFile {
    file: File,
    size: u64,
}

impl ImageFile {
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        // Checked before opening, since opening alone has an effect on some devices...
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(ImageError::NotAFile);
        }
        let file = OpenOptions::new()
            .read(true)
            // If the path has become a pipe meanwhile, this does not wait for a writer.
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path)
            .map_err(unreadable)?;
        // ... and after, since the path may have changed meanwhile.
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(ImageError::NotAFile);
        }
        let size = metadata.len();
        Ok(Self { file, size })
    }
}

impl Source for ImageFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }
}

impl Source for &[u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.get(offset..)?.get(..bytes.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(from);
        Ok(())
    }
}

pub(super) fn unreadable(error: io::Error) -> ImageError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ImageError::Missing,
        _ => ImageError::Unreadable(error),
    }
}
