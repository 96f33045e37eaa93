//! `isr_to_poll`: from the first instruction of the timer interrupt's entry to the first of the woken
//! task's future, with all that lies between as every guest has it.
//!
//! An entry of our own stands in the interrupt table. It stamps the TSC, and goes on to dormir's.

use core::{
    arch::naked_asm,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use dormir::{
    arch::x86_64::vector,
    platform::bare::{self, Machine},
};
use dormir_bench_guest::gates;

use crate::{
    executors,
    sleeper::{ENTERED, Sleeper, take_tally},
};

/// How often the task sleeps...
const SLEEPS: u32 = 100;

/// ... and how long each time: in instructions, a million.
const TIME: Duration = Duration::from_millis(1);

/// `isr_to_poll` in each executor, unless not even one timer is wanted.
pub(crate) fn run(machine: &Machine, max: usize) {
    if max == 0 {
        return;
    }
    install();
    executors::each(|subject, sleep| {
        sleep(Sleeper::new(SLEEPS, TIME));
        subject.report_tally_with("isr_to_poll", machine.timer, &take_tally());
    });
}

/// dormir's entry.
static REAL: AtomicU64 = AtomicU64::new(0);

/// Puts the stamping entry before dormir's.
fn install() {
    // SAFETY: `bare::init` has loaded the table, and no handler of this guest changes it.
    let real = unsafe { gates::entry_of(vector::APIC_TIMER) };
    REAL.store(real, Ordering::Relaxed);
    // SAFETY: it changes nothing that it does not put back, and goes on to what was there, which
    // acknowledges the interrupt.
    unsafe { bare::set_interrupt_handler(vector::APIC_TIMER, stamping_entry) };
}

/// The instructions of [`stamping_entry`] from the RDTSC on.
pub(crate) const BEHIND_STAMP: u64 = 7;

/// # Safety
///
/// To be entered by an interrupt only, after [`install`].
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
