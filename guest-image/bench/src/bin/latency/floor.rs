//! The floor: the latencies without any runtime.

use core::arch::{asm, naked_asm};

use dormir::{arch::x86_64::interrupt::InterruptEntry, platform::bare};
use dormir_bench_guest::stopwatch::stamp;
use x86_64::instructions::interrupts;

use crate::{
    host,
    machine::{EndOfInterrupt, machine, now},
    rounds::{Expected, Round, take_wake},
    stamps::{self, stamping_entry},
};

stamping_entry!(pic_entry, ["mov al, 0x20", "out 0x20, al"], "iretq");
// The local APIC's page is where it is after a reset, as `bare` uses it. Its EOI register is at
// 0xb0.
stamping_entry!(
    xapic_entry,
    ["mov eax, 0xfee000b0", "mov dword ptr [rax], 0"],
    "iretq"
);
stamping_entry!(
    x2apic_entry,
    [
        "push rcx",
        "mov ecx, 0x80b",
        "xor eax, eax",
        "xor edx, edx",
        "wrmsr",
        "pop rcx"
    ],
    "iretq"
);

impl EndOfInterrupt {
    /// Returns the entry that ends an interrupt in this way.
    fn entry(self) -> InterruptEntry {
        match self {
            Self::Pic => pic_entry,
            Self::Xapic => xapic_entry,
            Self::X2apic => x2apic_entry,
        }
    }
}

/// Executes `sti; hlt`, and returns the TSC at the first instruction after the wake, with
/// interrupts masked again.
#[inline(always)]
fn halt() -> u64 {
    stamps::fall_asleep();
    let (low, high): (u64, u64);
    // SAFETY: the interrupt's entry changes no register, and no memory but its stamp. There is no
    // `nomem`, so the stamp is read after the halt.
    unsafe {
        asm!("sti", "hlt", "rdtsc", "cli", out("rax") low, out("rdx") high);
    }
    high << 32 | low
}

/// Sleeps until `rounds` deadlines, one after another.
pub(crate) fn sleep(rounds: usize) {
    let machine = machine();
    interrupts::disable();
    // SAFETY: it saves what it changes, returns by `iretq`, and ends the interrupt.
    unsafe { machine.on_timer(machine.timer_ending().entry()) };
    for _ in 0..rounds {
        let round = Round::by_deadline(Expected::HALT);
        let deadline = round.deadline();
        loop {
            machine.alarm.set(deadline);
            if now() >= deadline {
                // It passed before the vCPU slept, so the alarm may never come: no sample.
                break;
            }
            let woke = halt();
            if machine.clock.at(woke) >= deadline {
                round.end(woke);
                break;
            }
        }
        machine.alarm.off();
    }
    interrupts::enable();
}

/// Sleeps until `rounds` interrupts from the host, one after another.
pub(crate) fn sleep_until_host(rounds: usize) {
    interrupts::disable();
    // SAFETY: it saves what it changes, returns by `iretq`, and ends the interrupt.
    unsafe { bare::set_interrupt_handler(stamps::HOST_VECTOR, machine().host_ending().entry()) };
    for _ in 0..rounds {
        let round = Round::by_host(Expected::HALT);
        loop {
            let woke = halt();
            if host::injected().is_some() {
                round.end(woke);
                break;
            }
        }
    }
    interrupts::enable();
}

/// The floor of a wake by another task: two stamps, one after the other.
pub(crate) fn stamp_twice(rounds: usize) {
    for _ in 0..rounds {
        stamps::clear();
        let before = stamp();
        let after = stamp();
        take_wake(before, after);
    }
}
