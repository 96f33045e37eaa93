//! The file of a disk.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};

use super::DeviceError;

/// The unit in which disks are addressed, in bytes.
pub(in crate::vmm) const SECTOR: u64 = 512;

/// The file of a disk, which was checked.
#[derive(Debug)]
pub(in crate::vmm) struct DiskFile {
    pub(in crate::vmm) file: File,
    pub(in crate::vmm) sectors: u64,
    pub(in crate::vmm) read_only: bool,
    /// The disk's number, from 0, which its identification contains.
    pub(in crate::vmm) number: usize,
}

impl DiskFile {
    pub(in crate::vmm) fn open(
        path: &Path,
        read_only: bool,
        number: usize,
    ) -> Result<Self, DeviceError> {
        let path = || path.to_owned();
        let mut options = OpenOptions::new();
        // Otherwise a pipe without a writer would block.
        options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let opened = options.read(true).write(!read_only).open(path());
        let file = opened.map_err(|cause| match cause.kind() {
            io::ErrorKind::IsADirectory => DeviceError::NotRegular { path: path() },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem if !read_only => {
                DeviceError::NotWritable { path: path() }
            }
            _ => DeviceError::Open {
                path: path(),
                cause,
            },
        })?;
        let metadata = file.metadata().map_err(|cause| DeviceError::Open {
            path: path(),
            cause,
        })?;
        if !metadata.is_file() {
            return Err(DeviceError::NotRegular { path: path() });
        }
        let length = metadata.len();
        if length == 0 || !length.is_multiple_of(SECTOR) {
            return Err(DeviceError::Size {
                path: path(),
                length,
            });
        }
        Ok(Self {
            file,
            sectors: length / SECTOR,
            read_only,
            number,
        })
    }

    /// What the guest sees as the disk's identification.
    pub(in crate::vmm) fn identification(&self) -> String {
        format!("disk{}", self.number)
    }
}

/// The file of a disk, which is locked until this is dropped.
#[derive(Debug)]
pub(in crate::vmm) struct LockedDisk {
    pub(in crate::vmm) disk: DiskFile,
}

impl LockedDisk {
    pub(in crate::vmm) fn open(
        path: &Path,
        read_only: bool,
        number: usize,
    ) -> Result<Self, DeviceError> {
        let disk = DiskFile::open(path, read_only, number)?;
        let path = || path.to_owned();
        let how = match read_only {
            true => FlockOperation::NonBlockingLockShared,
            false => FlockOperation::NonBlockingLockExclusive,
        };
        flock(&disk.file, how).map_err(|errno| match errno {
            Errno::WOULDBLOCK => DeviceError::Locked { path: path() },
            errno => DeviceError::Lock {
                path: path(),
                cause: errno.into(),
            },
        })?;
        Ok(Self { disk })
    }
}

impl Drop for LockedDisk {
    fn drop(&mut self) {
        // Closing is not enough: a process that is just being started may still hold a copy of the
        // descriptor. It fails only if there is no lock.
        let _ = flock(&self.disk.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Device, OpenDevice, open_all};
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::fs;

    fn disk(path: &Path, read_only: bool) -> Device {
        Device::Disk {
            path: path.to_owned(),
            read_only,
        }
    }

    fn refused(devices: &[Device]) -> String {
        open_all(devices).unwrap_err().to_string()
    }

    #[test]
    fn a_file_of_whole_sectors_is_a_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a,b");
        fs::write(&path, [7; 1024]).unwrap();
        let devices = open_all(&[Device::Rng, disk(&path, false)]).unwrap();
        let [OpenDevice::Rng, OpenDevice::Disk(disk)] = &devices[..] else {
            panic!("{devices:?}");
        };
        let disk = &disk.disk;
        assert_eq!((disk.sectors, disk.identification()), (2, "disk0".into()));
    }

    #[test]
    fn each_unusable_file_has_its_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        assert!(refused(&[disk(&path, false)]).contains("cannot be opened"));
        assert!(refused(&[disk(folder.path(), false)]).contains("no regular file"));
        assert!(refused(&[disk(folder.path(), true)]).contains("no regular file"));
        for length in [0, 1, 511, 513] {
            fs::write(&path, vec![0; length]).unwrap();
            let refused = refused(&[disk(&path, false)]);
            assert!(
                refused.contains(&format!("has {length} bytes")),
                "{refused}"
            );
        }
        let pipe = folder.path().join("pipe");
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, &pipe, FileType::Fifo, mode, 0).unwrap();
        for read_only in [true, false] {
            assert!(refused(&[disk(&pipe, read_only)]).contains("no regular file"));
        }
    }

    #[test]
    fn a_file_that_may_not_be_written_is_a_disk_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        fs::write(&path, [0; 512]).unwrap();
        let mut permissions = fs::metadata(&path).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions).unwrap();
        assert!(open_all(&[disk(&path, true)]).is_ok());
        // The administrator may write it nevertheless.
        if OpenOptions::new().write(true).open(&path).is_err() {
            assert!(refused(&[disk(&path, false)]).contains("may not be written"));
        }
    }

    #[test]
    fn a_disk_is_shared_only_by_readers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        fs::write(&path, [0; 512]).unwrap();
        let (read, write) = (disk(&path, true), disk(&path, false));
        let readers = open_all(&[read.clone(), read.clone()]).unwrap();
        assert!(refused(std::slice::from_ref(&write)).contains("locked"));
        drop(readers);
        let writer = open_all(std::slice::from_ref(&write)).unwrap();
        for other in [&read, &write] {
            assert!(refused(std::slice::from_ref(other)).contains("locked"));
        }
        drop(writer);
        assert!(refused(&[write.clone(), write]).contains("locked"));
        assert!(open_all(&[read]).is_ok());
    }
}
