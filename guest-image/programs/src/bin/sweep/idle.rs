//! The idle policy and its mutants, each with one mistake that the sweep must catch.

use core::arch::asm;

use dormir::{
    arch::x86_64::halt,
    idle::{Halt, Idle, IdleContext},
};
use x86_64::instructions::interrupts;

/// The wait of a policy.
pub(crate) type Wait = fn(&IdleContext<'_>);

/// A function as an idle policy.
pub(crate) struct WaitBy(pub(crate) Wait);

impl Idle for WaitBy {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        (self.0)(cx);
    }
}

/// Returns the policy that an argument names.
pub(crate) fn by_name(name: &str) -> Option<Wait> {
    match name {
        "halt" => Some(|cx| Halt.wait(cx)),
        "no-check" => Some(no_check),
        "check-before-mask" => Some(check_before_mask),
        "sti-hlt-apart" => Some(sti_hlt_apart),
        "nmi-forgotten" => Some(nmi_forgotten),
        "nmi-flag-lowered-late" => Some(nmi_flag_lowered_late),
        "halts-again-unchecked" => Some(halts_again_unchecked),
        _ => None,
    }
}

/// Halts without a last check: a wake since the poll is slept through.
fn no_check(_cx: &IdleContext<'_>) {
    halt::halt_if(|| true);
}

/// Checks, then masks: a wake between the two is slept through.
fn check_before_mask(cx: &IdleContext<'_>) {
    if cx.is_idle() {
        halt::halt_if(|| true);
    }
}

/// One instruction between `sti` and `hlt`: a pending interrupt comes after it, and its wake is
/// slept through.
fn sti_hlt_apart(cx: &IdleContext<'_>) {
    interrupts::disable();
    if cx.is_idle() {
        // SAFETY: unmasks interrupts and waits for one; touches no memory and no stack.
        unsafe { asm!("sti", "nop", "hlt", options(nostack)) };
    } else {
        interrupts::enable();
    }
}

/// Correct for interrupts, but unknown to the NMI handler: an NMI after the check is slept through.
fn nmi_forgotten(cx: &IdleContext<'_>) {
    interrupts::disable();
    if cx.is_idle() {
        // SAFETY: as above.
        unsafe { asm!("sti", "hlt", options(nostack)) };
    } else {
        interrupts::enable();
    }
}

/// Clears the NMI handler's flag after the check instead of before: an NMI during the check is
/// slept through.
fn nmi_flag_lowered_late(cx: &IdleContext<'_>) {
    interrupts::disable();
    if cx.is_idle() {
        halt::halt_if(|| true);
    } else {
        interrupts::enable();
    }
}

/// Halts again after an interrupt that woke nothing, without a last check: no mistake if there is
/// one interrupt. A second one, whose wake comes after the look, is slept through.
fn halts_again_unchecked(cx: &IdleContext<'_>) {
    Halt.wait(cx);
    if cx.is_idle() {
        halt::halt_if(|| true);
    }
}
