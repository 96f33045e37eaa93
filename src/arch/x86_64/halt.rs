//! The one `hlt`, and the last look before it.
//!
//! A maskable interrupt cannot come between the look and the `hlt`: it is masked from before the look
//! until the `sti`, and `sti` holds interrupts off for one more instruction, which is the `hlt` (SDM
//! vol. 2, STI). One that is pending ends the `hlt` as soon as it begins.
//!
//! An NMI is masked by nothing. If one comes after the look and wakes a task, the look is out of date
//! and the vCPU must not halt on it. So the NMI handler raises a flag that was lowered before the look,
//! and the flag is tested just before the `sti`. Between that test and the `hlt` there is no flag left
//! to see: an NMI that comes there returns behind the `hlt` instead of to it.

use core::{
    arch::global_asm,
    sync::atomic::{AtomicU8, Ordering, compiler_fence},
};

use x86_64::instructions::interrupts;

// The window in which an NMI steps over the `hlt` begins behind the test and ends with the `hlt`.
global_asm!(
    ".pushsection .text.dormir_halt, \"ax\", @progbits",
    ".globl dormir_halt",
    ".type dormir_halt, @function",
    "dormir_halt:",
    "    cmp byte ptr [{nmi_came}], 0",
    "dormir_halt_window:",
    "    jne dormir_halt_over",
    "    sti",
    ".globl dormir_halt_instruction",
    "dormir_halt_instruction:",
    "    hlt",
    "    ret",
    "dormir_halt_over:",
    "    sti",
    "    ret",
    ".size dormir_halt, . - dormir_halt",
    ".popsection",
    nmi_came = sym NMI_CAME,
);

unsafe extern "C" {
    safe fn dormir_halt();
    static dormir_halt_window: u8;
    static dormir_halt_instruction: u8;
    static dormir_halt_over: u8;
}

/// Whether an NMI came since the last look began. Of the one vCPU.
static NMI_CAME: AtomicU8 = AtomicU8::new(0);

/// Masks interrupts and looks; if there is nothing to do, halts until the next interrupt. Returns with
/// interrupts unmasked.
///
/// For the main line of one vCPU.
#[inline]
pub fn halt_if(nothing_to_do: impl FnOnce() -> bool) {
    interrupts::disable();
    NMI_CAME.store(0, Ordering::Relaxed);
    // An NMI's handler runs on this vCPU: the processor keeps the order, the compiler must too.
    compiler_fence(Ordering::SeqCst);
    if nothing_to_do() {
        // A call into assembly: the compiler moves no memory access across.
        dormir_halt();
    } else {
        interrupts::enable();
    }
}

/// The part of an NMI handler (or of one for machine checks that returns) that keeps [`halt_if`] from
/// sleeping on a wake: takes the interrupted RIP and gives the one to return to. To be called at every
/// NMI, before or after what the handler does.
#[must_use = "the handler must return to this address"]
#[inline]
pub fn on_nmi(interrupted: u64) -> u64 {
    NMI_CAME.store(1, Ordering::Relaxed);
    let window = (&raw const dormir_halt_window) as u64..=halt_instruction();
    if window.contains(&interrupted) {
        (&raw const dormir_halt_over) as u64
    } else {
        interrupted
    }
}

/// The address of the `hlt`.
#[must_use]
#[inline]
pub fn halt_instruction() -> u64 {
    (&raw const dormir_halt_instruction) as u64
}
