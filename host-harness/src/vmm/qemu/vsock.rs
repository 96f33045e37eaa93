//! The program `vhost-device-vsock`, which serves the sockets of a guest.

use std::{
    fs,
    io::ErrorKind,
    mem,
    os::unix::net::{SocketAddr, UnixStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    process,
    vmm::{
        companion::Companion,
        device::{DeviceError, OpenDevice, SocketFile, VsockError},
        error::RunError,
        limit::{Limit, Unstarted},
        report::Warning,
    },
};

const PROGRAM: &str = "vhost-device-vsock";

/// How long it may take to start, within the run's limit.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is asked meanwhile.
const INTERVAL: Duration = Duration::from_millis(5);

/// The running program. It ends when this is dropped, and the sockets' files go.
#[derive(Debug)]
pub(super) struct VsockServer {
    program: Companion,
    _file: SocketFile,
    /// Where QEMU's connection is.
    _folder: TempDir,
    /// QEMU's connection. It is closed last, also after QEMU's own handle: if it ended before the
    /// program, the program would make the socket for this host's programs anew.
    pub(super) socket: UnixStream,
}

impl VsockServer {
    /// Starts the program, if one of the devices needs it, and waits until it answers.
    pub(super) fn start_for(
        devices: &[OpenDevice],
        limit: &Limit<'_>,
    ) -> Result<Option<Self>, Unstarted> {
        let path = devices.iter().find_map(|device| match device {
            OpenDevice::Vsock(path) => Some(path),
            _ => None,
        });
        path.map(|path| Self::start(PROGRAM, path, PATIENCE, limit))
            .transpose()
    }

    /// What is to be said of the program once QEMU has ended, after which it still runs.
    pub(super) fn warning(&self) -> Option<Warning> {
        self.program.has_ended().then_some(Warning::SocketsEnded)
    }

    fn start(
        program: &str,
        path: &Path,
        patience: Duration,
        limit: &Limit<'_>,
    ) -> Result<Self, Unstarted> {
        let refused = |error| Unstarted::Refused(RunError::Device(DeviceError::Vsock(error)));
        let not_started = |cause| refused(VsockError::ServerStart(cause));
        let program = which::which(program).map_err(|_| refused(VsockError::ServerMissing))?;
        let folder = tempfile::tempdir().map_err(not_started)?;
        let for_qemu = socket_for_qemu(folder.path()).map_err(refused)?;
        // The program would take the place of another one's.
        if fs::symlink_metadata(path).is_ok() {
            return Err(refused(VsockError::new(path, ErrorKind::AddrInUse.into())));
        }
        let mut command = process::command("sh");
        command
            // What it makes is for this user alone.
            .args(["-c", "umask 177 && exec \"$0\" \"$@\""])
            .arg(program)
            .args(["--guest-cid", "3", "--socket"])
            .arg(&for_qemu)
            .arg("--uds-path")
            .arg(path);
        // It is dropped after the program, which may have made the file, has ended.
        let unready = Unready(path);
        let mut program = Companion::start(command).map_err(not_started)?;
        let end = Instant::now() + patience;
        let socket = loop {
            if let Ok(socket) = UnixStream::connect(&for_qemu) {
                break socket;
            }
            if program.has_ended() {
                return Err(refused(VsockError::ServerEnded(program.last_line())));
            }
            if Instant::now() >= end {
                return Err(refused(VsockError::ServerSilent(patience)));
            }
            limit.check()?;
            thread::sleep(INTERVAL);
        };
        program.ignore_messages().map_err(not_started)?;
        // It makes this one first.
        let file = SocketFile::new(path).map_err(|cause| refused(VsockError::new(path, cause)))?;
        mem::forget(unready);
        Ok(Self {
            program,
            _file: file,
            _folder: folder,
            socket,
        })
    }
}

/// Where QEMU's connection is, in this folder.
fn socket_for_qemu(folder: &Path) -> Result<PathBuf, VsockError> {
    let path = folder.join("qemu");
    match SocketAddr::from_pathname(&path) {
        Ok(_) => Ok(path),
        Err(_) => Err(VsockError::ServerFolder { path }),
    }
}

/// The path of the socket's file while the program is not ready; the file is removed when this is
/// dropped.
struct Unready<'a>(&'a Path);

impl Drop for Unready<'_> {
    fn drop(&mut self) {
        // Most programs that do not get ready have not made it.
        let _ = fs::remove_file(self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::vmm::{Outcome, RunConfig, Vmm};

    /// Starts a program for a run that may last as long as the limit.
    fn start(program: &Path, limit: Duration) -> Unstarted {
        let folder = tempfile::tempdir().unwrap();
        let mut config = RunConfig::new(Vmm::Kvm);
        config.timeout = limit;
        let socket = folder.path().join("s");
        let patience = Duration::from_millis(500);
        let program = program.to_str().unwrap();
        let started = VsockServer::start(program, &socket, patience, &Limit::new(&config));
        let error = started.map(drop).unwrap_err();
        assert!(!socket.exists(), "it is left behind");
        error
    }

    /// Starts a script in place of the program.
    fn start_script(script: &str, limit: Duration) -> Unstarted {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        start(&path, limit)
    }

    fn refused(unstarted: Unstarted) -> String {
        match unstarted {
            Unstarted::Refused(error) => error.to_string(),
            Unstarted::Cut(outcome) => panic!("{outcome}"),
        }
    }

    #[test]
    fn a_program_that_does_not_start_has_its_sentence() {
        let long = Duration::from_secs(100);
        let missing = refused(start("/nonexistent/program".as_ref(), long));
        assert!(missing.contains("cargo install --locked vhost-device-vsock"));
        let ended = refused(start_script("echo $* >&2; umask >&2; exit 1", long));
        assert!(ended.contains("(0177)"), "{ended}");
        let ended = refused(start_script("echo $* >&2", long));
        assert!(ended.contains("--guest-cid 3 --socket /"), "{ended}");
        let ended = refused(start_script("touch $6; echo it ends >&2", long));
        assert!(ended.contains("it ends"), "{ended}");
        let silent = refused(start_script("touch $6; exec sleep 1000", long));
        assert!(silent.contains("does not answer"), "{silent}");
    }

    #[test]
    fn a_run_that_is_over_does_not_wait_for_the_program() {
        let over = start_script("touch $6; exec sleep 1000", Duration::from_millis(50));
        assert!(matches!(over, Unstarted::Cut(Outcome::TimedOut { .. })));
    }

    #[test]
    fn a_program_that_ends_during_the_run_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        fs::write(&path, "").unwrap();
        let (socket, _of_program) = UnixStream::pair().unwrap();
        let runs = folder.path().join("runs");
        fs::write(&runs, "").unwrap();
        let mut command = process::command("sh");
        let script = "while test -e \"$0\"; do sleep 0.01; done";
        command.args(["-c", script]).arg(&runs);
        let server = VsockServer {
            program: Companion::start(command).unwrap(),
            _file: SocketFile::new(&path).unwrap(),
            _folder: folder,
            socket,
        };
        assert_eq!(server.warning(), None);
        fs::remove_file(&runs).unwrap();
        let end = Instant::now() + PATIENCE;
        while server.warning() != Some(Warning::SocketsEnded) {
            assert!(Instant::now() < end, "it is not told");
            thread::sleep(INTERVAL);
        }
    }

    #[test]
    fn another_ones_socket_stays() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = RunConfig::new(Vmm::Kvm);
        let started = VsockServer::start("true", file.path(), PATIENCE, &Limit::new(&config));
        let error = refused(started.map(drop).unwrap_err());
        assert!(error.contains("is there already"), "{error}");
        assert!(file.path().exists());
    }

    #[test]
    fn a_folder_whose_path_is_too_long_has_its_sentence() {
        let folder = |length| PathBuf::from("x".repeat(length - "/qemu".len()));
        socket_for_qemu(&folder(107)).unwrap();
        let error = socket_for_qemu(&folder(108)).unwrap_err().to_string();
        assert!(error.contains("set TMPDIR"), "{error}");
    }
}
