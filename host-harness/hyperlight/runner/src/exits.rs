//! Counts the exits from guests: how often this process makes KVM run a processor, which each exit
//! ends.

use std::{
    ffi::{c_int, c_long, c_ulong},
    sync::atomic::{AtomicU64, Ordering},
};

static RUNS: AtomicU64 = AtomicU64::new(0);

/// `KVM_RUN` of the kernel's `linux/kvm.h`.
const KVM_RUN: c_ulong = 0xae80;

/// The number of the system call `ioctl` on x86-64.
const SYS_IOCTL: c_long = 16;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

/// In place of the C library's function of this name, which the program then does not link: does
/// the same, and counts the requests to run. All requests have at most one argument, which is a
/// number or an address.
// SAFETY: The name is that of the C library's function, and callers get what it promises.
#[unsafe(no_mangle)]
unsafe extern "C" fn ioctl(file: c_int, request: c_ulong, argument: usize) -> c_int {
    if request == KVM_RUN {
        RUNS.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: The caller answers for file, request and argument, which go to the kernel unchanged.
    // The result is an `int`, and the errors are in `errno`, as with the C library's own function.
    unsafe { syscall(SYS_IOCTL, file, request, argument) as c_int }
}

/// The exits of all guests since the program began.
pub(crate) fn so_far() -> u64 {
    RUNS.load(Ordering::Relaxed)
}
