//! The timer's interrupt: acknowledges it, stores the TSC, counts it, and marks the queue as due.
//! The run loop does the rest.
//!
//! There is one entry for each way to acknowledge, in assembly. None of them calls a function, so
//! they save two or three registers, and not the nine that a function may change.

use core::{
    arch::naked_asm,
    sync::atomic::{AtomicU64, Ordering},
};

#[cfg(feature = "watchdog")]
use crate::arch::x86_64::tsc;
use crate::{
    arch::x86_64::{apic::Apic, interrupt::InterruptEntry},
    time::{GLOBAL, TimerQueue},
};

static TIMER_INTERRUPTS: AtomicU64 = AtomicU64::new(0);
static LAST_INTERRUPT: AtomicU64 = AtomicU64::new(0);

/// The address of the local APIC's register that ends interrupts, for [`xapic_entry`].
static XAPIC_EOI: AtomicU64 = AtomicU64::new(0);

/// The number of timer interrupts so far.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use core::time::Duration;
/// use dormir::{block_on, idle::Halt, platform::bare, time::Timer};
///
/// let before = bare::timer_interrupts();
/// block_on(async { Timer::after(Duration::from_millis(100)).await }, Halt);
/// dormir_guest::println!("{} timer interrupts", bare::timer_interrupts() - before);
/// ```
#[must_use]
pub fn timer_interrupts() -> u64 {
    TIMER_INTERRUPTS.load(Ordering::Relaxed)
}

/// The TSC at the last timer interrupt; 0 if none has come.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use core::time::Duration;
/// use dormir::{arch::x86_64::tsc, block_on, idle::Halt, platform::bare, time::Timer};
///
/// block_on(async { Timer::after(Duration::from_millis(1)).await }, Halt);
/// let latency = tsc::read() - bare::last_timer_interrupt();
/// dormir_guest::println!("from the interrupt to the task's end: {latency} ticks");
/// ```
#[must_use]
pub fn last_timer_interrupt() -> u64 {
    LAST_INTERRUPT.load(Ordering::Relaxed)
}

/// An entry that saves `rax` and `rdx`, which its acknowledgement may change. It depends on neither
/// the direction flag nor the alignment of the stack.
macro_rules! timer_entry {
    ($(#[$about:meta])* $entry:ident, $($acknowledge:literal)*, $($operand:tt)*) => {
        $(#[$about])*
        ///
        /// # Safety
        ///
        /// Only an interrupt may enter it.
        #[unsafe(naked)]
        unsafe extern "C" fn $entry() {
            naked_asm!(
                "push rax",
                "push rdx",
                $($acknowledge,)*
                "rdtsc",
                "shl rdx, 32",
                "or rax, rdx",
                "mov [rip + {stamp}], rax",
                // One vCPU writes it and interrupts do not nest, so no locked instruction is
                // needed.
                "inc qword ptr [rip + {count}]",
                // What `TimerQueue::on_interrupt` does.
                "mov byte ptr [rip + {queue} + {due}], 1",
                "pop rdx",
                "pop rax",
                "iretq",
                stamp = sym LAST_INTERRUPT,
                count = sym TIMER_INTERRUPTS,
                queue = sym GLOBAL,
                due = const TimerQueue::DUE,
                $($operand)*
            )
        }
    };
}

timer_entry! {
    /// Acknowledges by the local APIC's register in memory.
    xapic_entry,
    "mov rax, [rip + {eoi}]"
    "mov dword ptr [rax], 0",
    eoi = sym XAPIC_EOI,
}

timer_entry! {
    /// Acknowledges by the local APIC's MSR.
    x2apic_entry,
    "push rcx"
    "mov ecx, {eoi}"
    "xor eax, eax"
    "xor edx, edx"
    "wrmsr"
    "pop rcx",
    eoi = const Apic::X2APIC_EOI,
}

timer_entry! {
    /// Acknowledges by a non-specific EOI to the first 8259A (data sheet, OCW2).
    pit_entry,
    "mov al, 0x20"
    "out 0x20, al",
}

/// Stamps and counts an interrupt, for an entry of another module.
#[cfg(feature = "watchdog")]
pub(super) fn count() {
    LAST_INTERRUPT.store(tsc::read(), Ordering::Relaxed);
    TIMER_INTERRUPTS.fetch_add(1, Ordering::Relaxed);
}

/// The entry of the PIT's interrupts.
pub(super) const PIT_ENTRY: InterruptEntry = pit_entry;

/// The entry of the interrupts of this local APIC's timer.
pub(super) fn apic_entry(apic: Apic) -> InterruptEntry {
    match apic.eoi_address() {
        Some(address) => {
            XAPIC_EOI.store(address, Ordering::Relaxed);
            xapic_entry
        }
        None => x2apic_entry,
    }
}
