//! The seccomp filter of a gated program: which system calls pass, and which ask the gate.
//!
//! What a program needs to compute and to use the files that it has passes without a question.
//! Everything else asks, threads too, which are counted. So the list is of what is harmless, and a
//! system call that is new asks too.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as ArgLen,
    SeccompCmpOp::{self, Eq, MaskedEq, Ne},
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

/// Passes whatever the arguments are.
const PASS: &[c_long] = &[
    // Files that are open.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup2,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_signalfd4,
    // Sockets that are open.
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    // Waiting.
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_select,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    // Memory.
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_msync,
    libc::SYS_mlock,
    libc::SYS_brk,
    libc::SYS_membarrier,
    // Time, signals and threads of its own.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_time,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_gettime,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_delete,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getcpu,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Fail as if the kernel did not have them. The flags of the first are in memory, where a filter
/// does not see them and the program can change them. Without it, the C library starts threads by
/// `clone`. And rings do for a program what a filter does not see; without them QEMU takes its other
/// ways.
pub(super) const UNKNOWN: &[c_long] = &[libc::SYS_clone3, libc::SYS_io_uring_setup];

/// Fail, and the program goes on.
pub(super) const REFUSED: &[c_long] = &[
    // The C library looks for files that help it and need not be there: when it frees memory, reads
    // the time zone, or sets up a thread.
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    // QEMU's sockets that have a path, at its end.
    libc::SYS_unlink,
    libc::SYS_unlinkat,
];

/// A system call, the number of an argument, and what that must be like.
type Conditional = (c_long, u8, &'static [(SeccompCmpOp, i32)]);

/// Passes if all conditions of one entry hold.
const CONDITIONAL: &[Conditional] = &[
    // A thread, and no process.
    (libc::SYS_clone, 0, &[all_of(libc::CLONE_THREAD)]),
    // Signals to itself.
    (libc::SYS_kill, 0, &[(Eq, OWN_ID)]),
    (libc::SYS_tgkill, 0, &[(Eq, OWN_ID)]),
    (libc::SYS_prctl, 0, &[(Eq, libc::PR_SET_NAME)]),
    // No signals to others when something can be read.
    (
        libc::SYS_fcntl,
        1,
        &[(Ne, libc::F_SETOWN), (Ne, F_SETSIG), (Ne, F_SETOWN_EX)],
    ),
    (
        libc::SYS_ioctl,
        1,
        &[(MaskedEq(TYPE_OF_REQUEST), KVMIO << 8)],
    ),
    // A socket that has a port could connect by this flag.
    (libc::SYS_sendto, 3, &[none_of(libc::MSG_FASTOPEN)]),
    (libc::SYS_sendmsg, 2, &[none_of(libc::MSG_FASTOPEN)]),
];

/// The requests of `ioctl` that pass beside those to KVM: such as only concern what is open. There
/// are none that send signals, type on a terminal, or set networks or file systems, to which each
/// socket and each file is a way. QEMU restores its terminal at its end, also where it has none; a
/// C library does so by one of several requests.
const REQUESTS: &[libc::Ioctl] = &[
    libc::FIONREAD,
    libc::FIONBIO,
    libc::FIOCLEX,
    libc::FIONCLEX,
    libc::TCGETS,
    libc::TCSETS,
    libc::TCSETSW,
    libc::TCSETSF,
    libc::TCGETS2,
    libc::TCSETS2,
    libc::TCSETSW2,
    libc::TCSETSF2,
    libc::TIOCGWINSZ,
];

const fn all_of(bits: i32) -> (SeccompCmpOp, i32) {
    (MaskedEq(bits.cast_unsigned() as u64), bits)
}

const fn none_of(bits: i32) -> (SeccompCmpOp, i32) {
    (MaskedEq(bits.cast_unsigned() as u64), 0)
}

// Of asm-generic/fcntl.h; `libc` does not have them for this target.
const F_SETSIG: i32 = 10;
const F_SETOWN_EX: i32 = 15;

/// Which part of a request to a device says whose it is, by asm-generic/ioctl.h, and what it says
/// of those to KVM, by linux/kvm.h.
const TYPE_OF_REQUEST: u64 = 0xff00;
const KVMIO: i32 = 0xae;

/// Stands for the program's process ID, which is not known before the program's process exists.
const OWN_ID: i32 = 0x7fff_ff1d;

/// A filter that passes everything.
pub(super) const PASSES_ALL: [sock_filter; 1] = [sock_filter {
    code: (libc::BPF_RET | libc::BPF_K) as u16,
    jt: 0,
    jf: 0,
    k: libc::SECCOMP_RET_ALLOW,
}];

/// A filter that is not installed yet.
pub(super) struct Filter(BpfProgram);

impl Filter {
    pub(super) fn new() -> Self {
        Self(compile().unwrap_or_else(|error| unreachable!("the rules are constants: {error}")))
    }

    /// Completes the filter for the process of this ID. Allocates nothing.
    pub(super) fn of(&mut self, process: u32) -> &[sock_filter] {
        complete(&mut self.0, process);
        &self.0
    }
}

/// Puts the process's ID where its place is. Allocates nothing.
pub(super) fn complete(program: &mut [sock_filter], process: u32) {
    for statement in program {
        let compares = u32::from(statement.code) == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        if compares && statement.k == OWN_ID.cast_unsigned() {
            statement.k = process;
        }
    }
}

/// The rules of what passes, as conditions of each system call.
pub(super) fn rules() -> Result<BTreeMap<c_long, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<_, Vec<_>> = PASS.iter().map(|number| (*number, Vec::new())).collect();
    let requests = REQUESTS.iter().map(|request| (Eq, *request as i32));
    let requests: Vec<_> = requests.map(|equal| [equal]).collect();
    let requests = requests
        .iter()
        .map(|equal| (libc::SYS_ioctl, 1, &equal[..]));
    for (number, argument, conditions) in CONDITIONAL.iter().copied().chain(requests) {
        let condition = |(operator, value): &(SeccompCmpOp, i32)| {
            let value = u64::from(value.cast_unsigned());
            SeccompCondition::new(argument, ArgLen::Dword, operator.clone(), value)
        };
        let conditions = conditions.iter().map(condition);
        let rule = SeccompRule::new(conditions.collect::<Result<_, _>>()?)?;
        rules.entry(number).or_default().push(rule);
    }
    Ok(rules)
}

fn compile() -> Result<BpfProgram, BackendError> {
    let ask = SeccompAction::Trace(0);
    let mut rules = rules()?;
    // The gate counts threads.
    rules.remove(&libc::SYS_clone);
    let filter = SeccompFilter::new(rules, ask, SeccompAction::Allow, TargetArch::x86_64)?;
    let mut program: BpfProgram = filter.try_into()?;
    // `seccompiler` knows no action that asks a listener. Another one took its place until here.
    for statement in &mut program {
        let returns = u32::from(statement.code) == libc::BPF_RET | libc::BPF_K;
        if returns && statement.k == libc::SECCOMP_RET_TRACE {
            statement.k = libc::SECCOMP_RET_USER_NOTIF;
        }
    }
    Ok(program)
}
