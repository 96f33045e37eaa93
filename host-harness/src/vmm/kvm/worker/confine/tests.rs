use std::{
    env,
    fs::{self, File},
    io::{ErrorKind, IoSlice},
    mem::MaybeUninit,
    net::{TcpListener, TcpStream},
    os::{
        fd::AsFd,
        unix::{fs::FileExt, net::UnixStream},
    },
    process::Command,
};

use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};

use super::*;

/// Set in the process that is confined.
const ALONE: &str = "DORMIR_TEST_CONFINED";

/// Without a gate.
#[test]
fn what_is_not_open_stays_closed() {
    if env::var_os(ALONE).is_some() {
        return be_confined();
    }
    let output = Command::new(env::current_exe().expect("this program has a path"))
        .args([
            "--exact",
            "vmm::kvm::worker::confine::tests::what_is_not_open_stays_closed",
        ])
        .env(ALONE, "")
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

fn be_confined() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it has one");
    // SAFETY: no handler is installed, so no code runs.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let (here, _other_end) = UnixStream::pair().expect("two sockets");
    let confined = to_what_is_open(false, 1000).expect("it can be");
    confined.bound_memory().expect("it can be");
    assert!(Vec::<u8>::new().try_reserve_exact(2 << 30).is_err());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut files = SendAncillaryBuffer::new(&mut space);
    let fds = [here.as_fd()];
    assert!(files.push(SendAncillaryMessage::ScmRights(&fds)));
    let sent = sendmsg(
        &here,
        &[IoSlice::new(b"x")],
        &mut files,
        SendFlags::NOSIGNAL,
    );
    assert_eq!(sent, Err(Errno::PERM));
    let denied = |error: std::io::Error| assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    denied(File::open(file.path()).map(drop).unwrap_err());
    denied(
        File::create(file.path().with_extension("new"))
            .map(drop)
            .unwrap_err(),
    );
    denied(fs::read_dir("/").map(drop).unwrap_err());
    denied(TcpStream::connect(address).map(drop).unwrap_err());
    denied(TcpListener::bind("127.0.0.1:0").map(drop).unwrap_err());
    denied(Command::new("/bin/true").spawn().map(drop).unwrap_err());
    let bytes = [0; 5000];
    let large = file.as_file().write_all_at(&bytes, 0);
    assert!(large.is_err(), "a file is larger than the largest disk");
}
