//! The stamps on the path of a wake: TSC values, the last of each kind.

use core::{
    arch::naked_asm,
    future::{Future, poll_fn},
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
};

use dormir::{
    arch::x86_64::{interrupt::InterruptEntry, vector},
    platform::bare,
};
use dormir_bench_guest::stopwatch::stamp;

use crate::machine::machine;

/// The vector of the interrupts that the host injects.
pub(crate) const HOST_VECTOR: u8 = vector::FREE;

/// At the first instructions of the measured interrupt. 0: there was none.
pub(crate) static HANDLER: AtomicU64 = AtomicU64::new(0);

/// When a task was made ready. 0: none was.
static WAKE: AtomicU64 = AtomicU64::new(0);

/// When the vCPU was about to halt, or to wait in another way. 0: it was not.
static ASLEEP: AtomicU64 = AtomicU64::new(0);

/// Clears all stamps.
pub(crate) fn clear() {
    for stamp in [&HANDLER, &WAKE, &ASLEEP] {
        stamp.store(0, Ordering::Relaxed);
    }
}

/// Called by a runtime when it has made a task ready: by dormir as the wake hook of its executor,
/// by embassy as its pender.
#[inline]
pub(crate) fn wake() {
    WAKE.store(stamp(), Ordering::Relaxed);
}

/// Called by a runtime that has found nothing to do, just before it waits for an interrupt.
#[inline(always)]
pub(crate) fn fall_asleep() {
    ASLEEP.store(stamp(), Ordering::Relaxed);
}

/// Returns the stamp of the interrupt, if there was one.
pub(crate) fn handler() -> Option<u64> {
    taken(&HANDLER)
}

/// Returns the stamp of the wake, if there was one.
pub(crate) fn woken() -> Option<u64> {
    taken(&WAKE)
}

/// Returns when the vCPU was last about to wait, if it was.
pub(crate) fn asleep() -> Option<u64> {
    taken(&ASLEEP)
}

/// Awaits `future`; returns the stamp at the first instruction of the poll in which it completed.
#[inline(always)]
pub(crate) fn last_poll<F: Future>(mut future: Pin<&mut F>) -> impl Future<Output = u64> {
    poll_fn(move |cx| {
        let now = stamp();
        future.as_mut().poll(cx).map(|_| now)
    })
}

fn taken(stamp: &AtomicU64) -> Option<u64> {
    Some(stamp.load(Ordering::Relaxed)).filter(|&stamp| stamp != 0)
}

/// Defines an interrupt entry that stamps before anything else, executes `$then`, for which it has
/// saved `rax` and `rdx`, and leaves by `$leave`.
macro_rules! stamping_entry {
    ($entry:ident, [$($then:literal),*], $leave:literal $(, $next:ident)?) => {
        /// # Safety
        ///
        /// Must be entered only by an interrupt that is ended in this way, or by the entry it goes
        /// on to.
        #[unsafe(naked)]
        unsafe extern "C" fn $entry() {
            naked_asm!(
                "push rax",
                "push rdx",
                "rdtsc",
                "mov dword ptr [rip + {stamp}], eax",
                "mov dword ptr [rip + {stamp} + 4], edx",
                $($then,)*
                "pop rdx",
                "pop rax",
                $leave,
                stamp = sym $crate::stamps::HANDLER,
                $(next = sym $next,)?
            )
        }
    };
}
pub(crate) use stamping_entry;

/// The addresses of the entries to which the stamping entries jump.
static TIMER_NEXT: AtomicU64 = AtomicU64::new(0);
static HOST_NEXT: AtomicU64 = AtomicU64::new(0);
stamping_entry!(
    stamping_timer_entry,
    [],
    "jmp qword ptr [rip + {next}]",
    TIMER_NEXT
);
stamping_entry!(
    stamping_host_entry,
    [],
    "jmp qword ptr [rip + {next}]",
    HOST_NEXT
);

/// Makes the interrupts of the timer and of the host stamp first and then go on to these entries.
///
/// # Safety
///
/// `timer` must be the address of an entry like those of `interrupt_entry!` that ends the timer's
/// interrupt; `host` must be such an entry that ends the local APIC's.
pub(crate) unsafe fn go_on_to(timer: u64, host: InterruptEntry) {
    TIMER_NEXT.store(timer, Ordering::Relaxed);
    HOST_NEXT.store(host as usize as u64, Ordering::Relaxed);
    // SAFETY: it restores what it changes, and jumps to an entry that the caller vouches for.
    unsafe { machine().on_timer(stamping_timer_entry) };
    // SAFETY: the same.
    unsafe { bare::set_interrupt_handler(HOST_VECTOR, stamping_host_entry) };
}
