//! The listener of a seccomp filter (`SECCOMP_RET_USER_NOTIF` of seccomp(2)): who holds it is asked
//! about the system calls that the filter does not pass.

use std::{
    fs::{self, File},
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::Path,
};

use libc::{
    SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_SET_MODE_FILTER, c_long, seccomp_notif,
    seccomp_notif_addfd, seccomp_notif_resp, sock_fprog,
};
use rustix::{
    io::{Errno, IoSlice},
    ioctl::{Setter, Updater, ioctl, opcode},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
    process::{Pid, Signal, kill_process},
};
use seccompiler::sock_filter;

// The requests of linux/seccomp.h: `SECCOMP_IOCTL_NOTIF_RECV`, `_SEND` and `_ADDFD`.
const RECEIVE: u32 = opcode::read_write::<seccomp_notif>(b'!', 0);
const SEND: u32 = opcode::read_write::<seccomp_notif_resp>(b'!', 1);
const ADD_FD: u32 = opcode::write::<seccomp_notif_addfd>(b'!', 3);

pub(super) struct Listener(OwnedFd);

impl Listener {
    /// Installs a filter in the calling thread, which gains no privileges, and in what it executes.
    /// Only makes system calls.
    pub(super) fn install(filter: &[sock_filter]) -> io::Result<Self> {
        let program = sock_fprog {
            len: filter.len() as u16,
            // Both are the kernel's `struct sock_filter`, which it only reads.
            filter: filter.as_ptr().cast_mut().cast(),
        };
        // SAFETY: `program` is valid, with as many instructions as it says. The kernel reads both
        // during the call.
        let number = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                SECCOMP_SET_MODE_FILTER,
                SECCOMP_FILTER_FLAG_NEW_LISTENER,
                &raw const program,
            )
        };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has made this file descriptor, and nothing else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(number as i32) }))
    }

    /// Sends it to the other end of a socket. Only makes system calls.
    pub(super) fn send(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let listeners = [self.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&listeners));
        let byte = [IoSlice::new(&[0])];
        sendmsg(socket, &byte, &mut control, SendFlags::empty())?;
        Ok(())
    }

    /// Receives one; none if the other end has closed the socket without sending one.
    pub(super) fn receive(socket: BorrowedFd<'_>) -> Option<Self> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut bytes = [IoSliceMut::new(&mut byte)];
        recvmsg(socket, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
        control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next().map(Self),
            _ => None,
        })
    }

    /// Returns the next system call that waits; none if its caller was killed meanwhile. There must
    /// be one, or this waits.
    pub(super) fn next(&self) -> Option<Call<'_>> {
        // SAFETY: it consists of integers.
        let mut call: seccomp_notif = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: the request takes this structure, with zeros, and fills it in.
        let receive = unsafe { Updater::<RECEIVE, _>::new(&mut call) };
        // SAFETY: as above.
        unsafe { ioctl(self, receive) }.ok()?;
        let listener = self;
        Some(Call { listener, call })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A system call that waits for an answer. It waits for ever if it gets none, or until the listener
/// is closed.
pub(super) struct Call<'a> {
    listener: &'a Listener,
    call: seccomp_notif,
}

impl Call<'_> {
    /// Returns its number.
    pub(super) fn number(&self) -> c_long {
        self.call.data.nr.into()
    }

    pub(super) fn argument(&self, number: usize) -> u64 {
        self.call.data.args[number]
    }

    /// Returns whether it is a signal of its process to itself or to one of its threads.
    pub(super) fn signals_itself(&self) -> bool {
        let target = self.argument(0).cast_signed() as i32;
        let Some(process) = self.in_status("Tgid") else {
            return false;
        };
        match self.number() {
            libc::SYS_tkill => Path::new(&format!("/proc/{process}/task/{target}")).exists(),
            _ => process.parse() == Ok(target),
        }
    }

    /// Returns how many threads its process has; as many as can be if that cannot be read.
    pub(super) fn threads(&self) -> usize {
        let threads = self.in_status("Threads");
        threads
            .and_then(|threads| threads.parse().ok())
            .unwrap_or(usize::MAX)
    }

    /// Returns what the status of its caller has under this name.
    fn in_status(&self, name: &str) -> Option<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.call.pid)).ok()?;
        let mut lines = status.lines();
        lines.find_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix(":\t")?;
            Some(value.to_owned())
        })
    }

    /// Returns whether the argument points to this string. What is there may change later.
    pub(super) fn points_to(&self, argument: usize, string: &str) -> bool {
        let mut there = vec![0; string.len() + 1];
        let memory = File::open(format!("/proc/{}/mem", self.call.pid));
        let read =
            memory.and_then(|memory| memory.read_exact_at(&mut there, self.argument(argument)));
        read.is_ok() && there.strip_suffix(b"\0") == Some(string.as_bytes())
    }

    /// Lets the kernel carry it out.
    pub(super) fn go_on(self) {
        self.respond(0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32);
    }

    pub(super) fn fail(self, error: Errno) {
        self.respond(-error.raw_os_error(), 0);
    }

    /// Kills its process.
    pub(super) fn kill(self) {
        // It waits, so the ID is its own; or it was killed, and its ID would have to be in use
        // again by now.
        if let Some(caller) = i32::try_from(self.call.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(caller, Signal::KILL);
        }
        self.fail(Errno::PERM);
    }

    /// Makes it return a new file descriptor of the file. If that fails, so does the call.
    pub(super) fn return_file(self, file: &File) {
        let added = seccomp_notif_addfd {
            id: self.call.id,
            flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
            srcfd: file.as_raw_fd().cast_unsigned(),
            newfd: 0,
            newfd_flags: libc::O_CLOEXEC.cast_unsigned(),
        };
        // SAFETY: the request reads this structure.
        let add = unsafe { Setter::<ADD_FD, _>::new(added) };
        // SAFETY: as above.
        if unsafe { ioctl(self.listener, add) }.is_err() {
            self.fail(Errno::PERM);
        }
    }

    fn respond(self, error: i32, flags: u32) {
        let mut response = seccomp_notif_resp {
            id: self.call.id,
            val: 0,
            error,
            flags,
        };
        // SAFETY: the request reads this structure, and writes nothing else.
        let send = unsafe { Updater::<SEND, _>::new(&mut response) };
        // SAFETY: as above. It fails if the caller was killed.
        let _ = unsafe { ioctl(self.listener, send) };
    }
}
