//! What a guest that breaks out of its VM can do: it is imitated by a debugger, which makes the
//! process of the VM call the system as the guest might.

mod call;
mod rights;

use std::{
    fs,
    io::{self, Write},
    os::fd::{FromRawFd, OwnedFd},
    path::Path,
    sync::mpsc::{Sender, channel},
    thread,
    time::{Duration, Instant},
};

use dormir_harness::vmm::{Device, Outcome, Vmm, run};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

use crate::{
    KVM, PATIENCE, TCG_Q35, config,
    guests::{self, GuestFile, SPIN, print},
};

use call::{
    Argument::{self, Number, Path as Text},
    Call, call, call_from, call_of_32_bits,
};

/// Tells that the guest runs.
struct Runs(Sender<()>);

impl Write for Runs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Does something to the process of a VM whose guest runs. Returns what that returned, and the
/// run's outcome. The run is stopped if that is asked for.
fn with_process<T>(vmm: Vmm, limit: Duration, act: impl FnOnce(Pid) -> (T, bool)) -> (T, Outcome) {
    with_process_after(|| (), vmm, limit, act)
}

/// The same, whose caller's thread does something first, and has what comes of it until the end.
fn with_process_after<T, B>(
    before: impl FnOnce() -> B + Send,
    vmm: Vmm,
    limit: Duration,
    act: impl FnOnce(Pid) -> (T, bool),
) -> (T, Outcome) {
    // The process that has it open is the VM's.
    let disk = guests::write(&[0; 512]);
    let mut config = config(vmm);
    config.timeout = limit;
    config.devices = vec![Device::Disk {
        path: disk.path().to_owned(),
        read_only: false,
    }];
    let guest = GuestFile::new(&[print(b"x"), SPIN.to_vec()].concat());
    let (sender, runs) = channel();
    thread::scope(|scope| {
        let ran = scope.spawn(|| {
            let _until_the_end = before();
            run(guest.path(), &config, &mut Runs(sender))
        });
        runs.recv_timeout(PATIENCE).expect("the guest runs");
        let (answer, stops) = act(process_with(disk.path()));
        if stops {
            config.stop.stop();
        }
        let report = ran.join().expect("no panic").expect("it has run");
        (answer, report.outcome)
    })
}

/// Runs a guest that has broken out and calls this. Returns what the call returned, if it did, and
/// the run's outcome.
fn break_out(vmm: Vmm, call: &Call) -> (Option<i64>, Outcome) {
    with_process(vmm, PATIENCE, |process| {
        let answer = call_from(process, call);
        (answer, answer.is_some())
    })
}

/// The process other than this one that has the file open.
fn process_with(file: &Path) -> Pid {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has_it = |id: &i32| {
        let files = fs::read_dir(format!("/proc/{id}/fd"));
        let mut files = files.into_iter().flatten().flatten();
        files.any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link == file))
    };
    // Others may have a copy for a moment: what is being started, and is not that program yet.
    let is_vm = |id: &i32| {
        let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        name.starts_with("dormir-vm") || name.starts_with("qemu")
    };
    let found = ids.find(|id| is_vm(id) && has_it(id));
    Pid::from_raw(found.expect("the VM has a process of its own"))
}

/// What is said of a call that ended the process without asking a gate.
const UNNAMED: &str = "asked for a system call,";

const HERE: Argument = Number(libc::AT_FDCWD as i64);

/// Also what the C library looks for must fail, and not end the process.
fn opens_no_file(vmm: Vmm) {
    for flags in [libc::O_RDONLY, libc::O_WRONLY | libc::O_CREAT] {
        let open = call(
            libc::SYS_openat,
            [HERE, Text("/etc/hostname"), Number(flags.into())],
        );
        let (answer, outcome) = break_out(vmm, &open);
        assert_eq!(answer, Some(-i64::from(libc::EPERM)));
        assert_eq!(outcome, Outcome::Stopped);
    }
}

fn is_ended_by(vmm: Vmm, calls: &[(&str, Call)]) {
    for (name, call) in calls {
        let (answer, outcome) = break_out(vmm, call);
        assert_eq!(answer, None, "{name}");
        let Outcome::Died(reason) = outcome else {
            panic!("{name}: {outcome:?}");
        };
        assert!(reason.contains(&format!("`{name}`")), "{reason}");
        assert!(reason.contains("broken out"), "{reason}");
    }
}

fn starts_no_program_and_opens_no_socket(vmm: Vmm) {
    /// Asks for the number of bytes that a packet of an interface may have (linux/sockios.h); a
    /// socket that is open, such as standard input may be, is the way to such settings.
    const SIOCGIFMTU: i64 = 0x8921;
    let nothing = Number(0);
    let shell = Text("/bin/sh");
    let calls = [
        ("execve", call(libc::SYS_execve, [shell, nothing, nothing])),
        ("fork", call(libc::SYS_fork, [nothing; 3])),
        (
            "clone",
            call(
                libc::SYS_clone,
                [Number(libc::SIGCHLD.into()), nothing, nothing],
            ),
        ),
        (
            "socket",
            call(
                libc::SYS_socket,
                [
                    Number(libc::AF_UNIX.into()),
                    Number(libc::SOCK_STREAM.into()),
                    nothing,
                ],
            ),
        ),
        (
            "ioctl",
            call(libc::SYS_ioctl, [nothing, Number(SIOCGIFMTU), nothing]),
        ),
        // This process.
        (
            "kill",
            call(
                libc::SYS_kill,
                [Number(std::process::id().into()), nothing, nothing],
            ),
        ),
        (
            "ptrace",
            call(
                libc::SYS_ptrace,
                [Number(16), Number(std::process::id().into()), nothing],
            ),
        ),
    ];
    is_ended_by(vmm, &calls);
}

/// Makes the one listener that the filters of a thread, and of what it starts, may have. So these
/// get no gate, as in some containers.
fn take_the_listener() -> OwnedFd {
    // `SECCOMP_RET_ALLOW`, always.
    let allow = libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    let filter = libc::sock_fprog {
        len: 1,
        filter: (&raw const allow).cast_mut(),
    };
    // SAFETY: the request takes numbers, and changes what this thread may execute.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the filter is valid during the call, which only reads it.
    let number = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const filter,
        )
    };
    assert!(number >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the kernel has just made it, and nothing else knows it.
    unsafe { OwnedFd::from_raw_fd(number as i32) }
}

#[test]
fn without_a_gate_the_process_of_a_vm_closes_itself_in() {
    let nothing = Number(0);
    let open = call(
        libc::SYS_openat,
        [HERE, Text("/etc/hostname"), Number(libc::O_PATH.into())],
    );
    let harmless = call(libc::SYS_getppid, [nothing; 3]);
    let datagrams = call(
        libc::SYS_socket,
        [
            Number(libc::AF_UNIX.into()),
            Number(libc::SOCK_DGRAM.into()),
            nothing,
        ],
    );
    let parent = Number(std::process::id().into());
    let signal = call(libc::SYS_kill, [parent, nothing, nothing]);
    let act = |call: &Call| {
        with_process_after(take_the_listener, KVM, PATIENCE, |process| {
            let answer = call_from(process, call);
            (answer, answer.is_some())
        })
    };
    let (answer, outcome) = act(&harmless);
    assert!(answer.is_some_and(|parent| parent > 0), "{answer:?}");
    assert_eq!(outcome, Outcome::Stopped);
    let (answer, outcome) = act(&open);
    assert_eq!(answer, Some(-i64::from(libc::EPERM)));
    assert_eq!(outcome, Outcome::Stopped);
    for call in [datagrams, signal] {
        let (answer, outcome) = act(&call);
        assert_eq!(answer, None);
        let Outcome::Died(reason) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(reason.contains("broken out"), "{reason}");
        // A gate would have named it.
        assert!(reason.contains(UNNAMED), "{reason}");
    }
}

/// Returns how many filters of system calls a thread has by its status, a container's among them.
fn filters_in(status: String) -> u32 {
    let mut lines = status.lines();
    let count = lines.find_map(|line| line.strip_prefix("Seccomp_filters:"));
    let count = count.expect("Linux 5.9 or later lists it").trim();
    count.parse().expect("it is a number")
}

/// The filters come when the threads of the devices run.
#[test]
fn without_a_gate_each_thread_is_closed_in() {
    let (filters, _) = with_process_after(take_the_listener, KVM, PATIENCE, |process| {
        let threads = fs::read_dir(format!("/proc/{process}/task")).expect("/proc");
        let filters = threads.filter_map(|thread| {
            let status = thread.expect("/proc").path().join("status");
            fs::read_to_string(status).ok().map(filters_in)
        });
        // A thread that has just ended has none.
        (filters.collect::<Vec<_>>(), true)
    });
    let [first, others @ ..] = &filters[..] else {
        panic!("it has threads");
    };
    assert!(!others.is_empty(), "{filters:?}");
    // That of the thread that started it, that against passing files on, and the rules' three.
    let own = fs::read_to_string("/proc/self/status").expect("/proc");
    assert_eq!(*first, filters_in(own) + 5);
    assert!(others.iter().all(|other| other == first), "{filters:?}");
}

/// No gate is asked about the calls of 32-bit programs.
fn makes_no_call_of_32_bits(vmm: Vmm) {
    const GETPPID: libc::c_long = 64;
    let (answer, outcome) = break_out(vmm, &call_of_32_bits(GETPPID));
    assert_eq!(answer, None);
    let Outcome::Died(reason) = outcome else {
        panic!("{outcome:?}");
    };
    // A kernel that runs no programs of 32 bits has no such calls.
    let is_told = reason.contains(UNNAMED) || reason.contains("SIGSEGV");
    assert!(is_told, "{reason}");
}

#[test]
fn the_process_of_a_vm_makes_no_call_of_32_bits() {
    makes_no_call_of_32_bits(KVM);
}

#[test]
fn qemu_makes_no_call_of_32_bits() {
    makes_no_call_of_32_bits(TCG_Q35);
}

#[test]
fn the_process_of_a_vm_opens_no_file() {
    opens_no_file(KVM);
}

#[test]
fn the_process_of_a_vm_starts_no_program_and_opens_no_socket() {
    starts_no_program_and_opens_no_socket(KVM);
}

#[test]
fn qemu_opens_no_file() {
    opens_no_file(TCG_Q35);
}

#[test]
fn qemu_starts_no_program_and_opens_no_socket() {
    starts_no_program_and_opens_no_socket(TCG_Q35);
}

/// What is refused above is refused to a process that can call the system.
#[test]
fn the_process_of_a_vm_may_do_what_it_needs() {
    let (answer, outcome) = break_out(KVM, &call(libc::SYS_getppid, [Number(0); 3]));
    assert!(answer.is_some_and(|parent| parent > 0), "{answer:?}");
    assert_eq!(outcome, Outcome::Stopped);
}

/// QEMU opens what it likes then, but has a filter of its own, if it was built with one.
#[test]
fn without_a_gate_qemu_starts_no_program() {
    let fork = call(libc::SYS_fork, [Number(0); 3]);
    let (answer, outcome) = with_process_after(take_the_listener, TCG_Q35, PATIENCE, |process| {
        let answer = call_from(process, &fork);
        (answer, answer.is_some())
    });
    assert_eq!(answer, None);
    assert!(matches!(outcome, Outcome::Died(_)), "{outcome:?}");
}

#[test]
fn a_process_of_a_vm_that_is_killed_is_an_end_with_a_sentence() {
    let kill = |process| {
        (
            signal::kill(process, Signal::SIGKILL).expect("it runs"),
            false,
        )
    };
    let ((), outcome) = with_process(KVM, PATIENCE, kill);
    let Outcome::Died(reason) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(reason.contains("signal: 9"), "{reason}");
}

/// One that does not do what it is told holds nothing up.
#[test]
fn a_process_of_a_vm_that_hangs_ends_at_the_time_limit() {
    let stop = |process| {
        (
            signal::kill(process, Signal::SIGSTOP).expect("it runs"),
            false,
        )
    };
    let limit = Duration::from_secs(2);
    let started = Instant::now();
    let ((), outcome) = with_process(KVM, limit, stop);
    assert!(matches!(outcome, Outcome::TimedOut { .. }), "{outcome:?}");
    // Two seconds for the worker, and as much again where the machine is busy.
    assert!(started.elapsed() < limit + Duration::from_secs(10));
}
