//! Interrupts that the harness's VMM injects: see [`dormir_abi::port::HOST_INTERRUPT`].
//!
//! The host stamps with its own TSC, and adds the offset of the guest's TSC as KVM reports it.
//! Readings of the guest's TSC before and after the host's check this.

use core::{
    arch::asm,
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use dormir_abi::port::{self, HostInterrupt};
use dormir_bench_guest::stopwatch::stamp;

use crate::stamps::HOST_VECTOR;

/// A request to the host, and its answer: a [`HostInterrupt`] that both may access at any time.
#[repr(C)]
struct SharedRequest {
    vector: AtomicU64,
    delay_nanos: AtomicU64,
    tsc: AtomicU64,
}

const _: () = assert!(size_of::<SharedRequest>() == size_of::<HostInterrupt>());

static REQUEST: SharedRequest = SharedRequest {
    vector: AtomicU64::new(0),
    delay_nanos: AtomicU64::new(0),
    tsc: AtomicU64::new(0),
};

/// Asks for an interrupt in `nanos` nanoseconds.
pub(crate) fn interrupt_in(nanos: u64) {
    ask(HOST_VECTOR, nanos);
}

/// Returns the TSC just before the host injected the interrupt, once it has.
pub(crate) fn injected() -> Option<u64> {
    Some(REQUEST.tsc.load(Ordering::Acquire)).filter(|&stamp| stamp != 0)
}

fn ask(vector: u8, delay_nanos: u64) {
    REQUEST.vector.store(vector.into(), Ordering::Relaxed);
    REQUEST.delay_nanos.store(delay_nanos, Ordering::Relaxed);
    REQUEST.tsc.store(0, Ordering::Relaxed);
    let address = ptr::from_ref(&REQUEST).addr();
    // SAFETY: the VMM reads the request and writes its last word; all words are atomics. There is
    // no `nomem`, so the request is in memory by then. Other VMMs ignore the port. The image lies
    // below 4 GiB.
    unsafe {
        asm!(
            "out dx, eax",
            in("dx") port::HOST_INTERRUPT,
            in("eax") address as u32,
            options(nostack, preserves_flags),
        );
    }
}

/// How often the two counters are compared.
const READINGS: usize = 200;

/// Returns by how many ticks the host's stamps may be early or late, as far as readings can tell.
///
/// # Errors
///
/// The host does not answer, or its offset between the counters is wrong.
pub(crate) fn uncertainty() -> Result<u64, &'static str> {
    let (mut too_late, mut too_early) = (u64::MAX, u64::MAX);
    for _ in 0..READINGS {
        let before = stamp();
        ask(0, 0);
        let after = stamp();
        let between = injected().ok_or(
            "this VMM injects no interrupts: leave out `host` in paths=, or use `--vmm kvm`",
        )?;
        let is_between = before <= between && between <= after;
        if !is_between {
            return Err(
                "the host's offset of this guest's TSC is wrong, so the path `host` cannot be \
                 measured: \
                 leave it out in paths=",
            );
        }
        too_late = too_late.min(between - before);
        too_early = too_early.min(after - between);
    }
    Ok(too_late.max(too_early))
}
