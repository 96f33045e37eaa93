//! The folder for the data that a guest sends.

use std::{
    fs::{self, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::vmm::Report;

/// Why data was not written.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum OutError {
    #[error("the folder {} cannot be made ({cause}): pass another --out", .path.display())]
    Folder { path: PathBuf, cause: io::Error },
    #[error("{} cannot be written ({cause}): pass another --out", .path.display())]
    File { path: PathBuf, cause: io::Error },
    #[error(
        "the guest sent data under more than {} names, and the rest was dropped: make it send less",
        dormir_abi::record::MAX_DATA_NAMES
    )]
    Dropped,
}

/// The folder.
pub(in crate::cli) struct OutFolder(PathBuf);

impl OutFolder {
    /// Makes the folder, if it does not exist.
    pub(in crate::cli) fn make(path: &Path) -> Result<Self, OutError> {
        let failed = |cause| OutError::Folder {
            path: path.to_owned(),
            cause,
        };
        fs::create_dir_all(path).map_err(failed)?;
        Ok(Self(path.to_owned()))
    }

    /// Writes a file for each name, in place of one that is there. Their names were checked: none
    /// leads out of the folder. A link with such a name is replaced, not followed.
    pub(in crate::cli) fn write(&self, report: &Report) -> Result<(), OutError> {
        for (name, bytes) in &report.data {
            let path = self.0.join(name);
            self.replace(&path, bytes)
                .map_err(|cause| OutError::File { path, cause })?;
        }
        match report.data_dropped {
            0 => Ok(()),
            _ => Err(OutError::Dropped),
        }
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        // Like any new file's: the user's mask is applied to them.
        let mut file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(&self.0)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    }
}
