//! An entry of our own for the timer interrupt. It stamps the TSC and goes on to dormir's.

use core::{
    arch::naked_asm,
    sync::atomic::{AtomicU64, Ordering},
};

use dormir::{arch::x86_64::vector, platform::bare};
use dormir_bench_guest::gates;

/// The TSC at the first instruction of the interrupt's entry; 0 if [`install`] was not called.
pub(crate) static ENTERED: AtomicU64 = AtomicU64::new(0);

/// How many instructions [`stamping_entry`] takes from its RDTSC on.
pub(crate) const BEHIND_STAMP: u64 = 7;

/// dormir's entry.
static REAL: AtomicU64 = AtomicU64::new(0);

/// Puts the stamping entry before dormir's.
pub(crate) fn install() {
    // SAFETY: `bare::init` has loaded the table, and no handler of this guest changes it.
    let real = unsafe { gates::entry_of(vector::APIC_TIMER) };
    REAL.store(real, Ordering::Relaxed);
    // SAFETY: it restores every register that it changes, and goes on to the entry that was there,
    // which acknowledges the interrupt.
    unsafe { bare::set_interrupt_handler(vector::APIC_TIMER, stamping_entry) };
}

/// # Safety
///
/// Must be entered by an interrupt only, and after [`install`].
#[unsafe(naked)]
unsafe extern "C" fn stamping_entry() {
    naked_asm!(
        "push rax",
        "push rdx",
        "rdtsc",
        "shl rdx, 32",
        "or rax, rdx",
        "mov [rip + {entered}], rax",
        "pop rdx",
        "pop rax",
        "jmp [rip + {real}]",
        entered = sym ENTERED,
        real = sym REAL,
    )
}
