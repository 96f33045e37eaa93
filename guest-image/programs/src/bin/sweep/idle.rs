//! The idle policy and its mutants, each with one mistake that the sweep must catch.

use core::arch::asm;

use dormir::{
    arch::x86_64::halt,
    idle::{Halt, Idle, IdleContext},
};
use x86_64::instructions::interrupts;

/// How a policy waits.
pub(crate) type Wait = fn(&IdleContext<'_>);

/// A function as a policy.
pub(crate) struct By(pub(crate) Wait);

impl Idle for By {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        (self.0)(cx);
    }
}

/// The policy that an argument names.
pub(crate) fn by_name(name: &str) -> Option<Wait> {
    match name {
        "halt" => Some(|cx| Halt.wait(cx)),
        "no-check" => Some(no_check),
        "check-before-mask" => Some(check_before_mask),
        "sti-hlt-apart" => Some(sti_hlt_apart),
        "nmi-forgotten" => Some(nmi_forgotten),
        "nmi-flag-lowered-late" => Some(nmi_flag_lowered_late),
        _ => None,
    }
}

/// Halts without a last look: a wake since the poll is slept on.
fn no_check(_cx: &IdleContext<'_>) {
    halt::halt_if(|| true);
}

/// Looks, then masks: a wake between the two is slept on.
fn check_before_mask(cx: &IdleContext<'_>) {
    if cx.is_idle() {
        halt::halt_if(|| true);
    }
}

/// One instruction between `sti` and `hlt`: an interrupt that was pending comes after it, and is slept
/// on.
fn sti_hlt_apart(cx: &IdleContext<'_>) {
    interrupts::disable();
    if cx.is_idle() {
        // SAFETY: unmasks interrupts and waits for one; touches no memory and no stack.
        unsafe { asm!("sti", "nop", "hlt", options(nostack)) };
    } else {
        interrupts::enable();
    }
}

/// Right for interrupts, but the NMI handler knows nothing of it: an NMI after the look is slept on.
fn nmi_forgotten(cx: &IdleContext<'_>) {
    interrupts::disable();
    if cx.is_idle() {
        // SAFETY: as above.
        unsafe { asm!("sti", "hlt", options(nostack)) };
    } else {
        interrupts::enable();
    }
}

/// Lowers the NMI handler's flag after the look and not before it: an NMI during the look is slept on.
fn nmi_flag_lowered_late(cx: &IdleContext<'_>) {
    interrupts::disable();
    if cx.is_idle() {
        halt::halt_if(|| true);
    } else {
        interrupts::enable();
    }
}
