//! The sockets of a guest: where this host's programs connect to it.

use std::{
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

/// The longest path of a Unix socket, in bytes.
const LONGEST_PATH: usize = 107;

/// The longest path of a guest's socket: a port's number comes behind it, for what the guest
/// connects to.
const LONGEST: usize = LONGEST_PATH - "_4294967295".len();

/// Why a guest cannot have sockets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VsockError {
    /// There is a file of this name.
    #[error(
        "the socket {} is there already: another guest uses it, or one that was killed has left \
         it; name another, or remove it",
        path.display()
    )]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The path is too long, or empty.
    #[error(
        "the path {} has {} bytes, and one of a guest's socket has 1 to {LONGEST}, since the \
         number of a port comes behind it: name a shorter one, for instance a relative one",
        path.display(),
        path.as_os_str().len()
    )]
    Length {
        /// The path.
        path: PathBuf,
    },
    /// The file cannot be made.
    #[error(
        "the socket {} cannot be made ({cause}): name one in a folder that exists and that you \
         may write",
        path.display()
    )]
    Make {
        /// The path.
        path: PathBuf,
        /// The kernel's error.
        cause: io::Error,
    },
    /// The program that serves the sockets of QEMU's guests could have no socket for QEMU.
    #[error(
        "the folder for temporary files has so long a path that no socket can be in it ({}): set \
         TMPDIR to a folder with a shorter one, for instance /tmp",
        path.display()
    )]
    ServerFolder {
        /// The path that the socket would have.
        path: PathBuf,
    },
    /// The program that serves the sockets of QEMU's guests is not installed.
    #[error(
        "there is no vhost-device-vsock, which serves the sockets of QEMU's guests: install it \
         (cargo install --locked vhost-device-vsock), or pass --vmm kvm, which does not need it"
    )]
    ServerMissing,
    /// The program cannot be started or watched.
    #[error(
        "vhost-device-vsock, which serves the sockets of QEMU's guests, cannot be started ({0}): \
         install it again"
    )]
    ServerStart(io::Error),
    /// The program ended at once.
    #[error(
        "vhost-device-vsock, which serves the sockets of QEMU's guests, ended at once ({0}): see \
         whether its message explains it, or pass --vmm kvm, which does not need it"
    )]
    ServerEnded(String),
    /// The program does nothing.
    #[error(
        "vhost-device-vsock, which serves the sockets of QEMU's guests, does not answer after {} \
         s: start it by hand to see what it waits for",
        .0.as_secs()
    )]
    ServerSilent(Duration),
}

impl VsockError {
    /// What this error of the kernel means for the socket.
    pub(in crate::vmm) fn new(path: &Path, cause: io::Error) -> Self {
        let path = path.to_owned();
        match cause.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { path },
            _ => Self::Make { path, cause },
        }
    }
}

/// The file of a socket, which is removed when this is dropped.
#[derive(Debug)]
pub(in crate::vmm) struct SocketFile {
    path: PathBuf,
    /// Its device and its number: it is removed only if it is still this one.
    identity: (u64, u64),
}

impl SocketFile {
    /// The file that there is now.
    pub(in crate::vmm) fn new(path: &Path) -> io::Result<Self> {
        let identity = identity(path)?;
        let path = path.to_owned();
        Ok(Self { path, identity })
    }

    pub(in crate::vmm) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // It fails only if the folder's mode has changed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Checks that the file can be made. (It is made soon after.)
pub(super) fn check(path: &Path) -> Result<(), VsockError> {
    let length = path.as_os_str().as_bytes().len();
    if !(1..=LONGEST).contains(&length) {
        return Err(VsockError::Length {
            path: path.to_owned(),
        });
    }
    match fs::symlink_metadata(path) {
        Ok(_) => Err(VsockError::new(path, io::ErrorKind::AddrInUse.into())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|parent| *parent != Path::new(""));
            // A folder that is missing is told before anything is started.
            match parent.map_or(Ok(true), fs::exists) {
                Ok(true) => Ok(()),
                Ok(false) => Err(VsockError::new(path, cause)),
                Err(cause) => Err(VsockError::new(path, cause)),
            }
        }
        Err(cause) => Err(VsockError::new(path, cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unusable_path_has_its_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path| check(path).unwrap_err().to_string();
        let file = folder.path().join("file");
        check(&file).unwrap();
        check(Path::new("vsock-test-name")).unwrap();
        fs::write(&file, "").unwrap();
        assert!(refused(&file).contains("is there already"));
        assert!(refused(&file.join("socket")).contains("cannot be made"));
        let missing = refused(&folder.path().join("none/socket"));
        assert!(missing.contains("in a folder that exists"), "{missing}");
        assert!(refused(Path::new("")).contains("has 0 bytes"));
        let path = "x".repeat(LONGEST);
        check(Path::new(&path)).unwrap();
        assert!(refused(Path::new(&(path + "x"))).contains("1 to 96"));
    }
}
