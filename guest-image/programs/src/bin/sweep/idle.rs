//! The idle policy and its mutants, each with one mistake that the sweep must catch.

use core::arch::asm;

use dormir::{
    arch::x86_64::halt,
    idle::{Halt, Idle},
    time::Instant,
};
use x86_64::instructions::interrupts;

/// How a policy waits.
pub(crate) type Wait = fn(&dyn Fn() -> bool);

/// A function as a policy.
pub(crate) struct By(pub(crate) Wait);

impl Idle for By {
    fn wait(&mut self, _until: Option<Instant>, idle: &dyn Fn() -> bool) {
        (self.0)(idle);
    }
}

/// The policy that an argument names.
pub(crate) fn by_name(name: &str) -> Option<Wait> {
    match name {
        "halt" => Some(|idle| Halt.wait(None, idle)),
        "no-check" => Some(no_check),
        "check-before-mask" => Some(check_before_mask),
        "sti-hlt-apart" => Some(sti_hlt_apart),
        "nmi-forgotten" => Some(nmi_forgotten),
        "nmi-flag-lowered-late" => Some(nmi_flag_lowered_late),
        _ => None,
    }
}

/// Halts without a last look: a wake since the poll is slept on.
fn no_check(_idle: &dyn Fn() -> bool) {
    halt::halt_if(|| true);
}

/// Looks, then masks: a wake between the two is slept on.
fn check_before_mask(idle: &dyn Fn() -> bool) {
    if idle() {
        halt::halt_if(|| true);
    }
}

/// One instruction between `sti` and `hlt`: an interrupt that was pending comes after it, and is slept
/// on.
fn sti_hlt_apart(idle: &dyn Fn() -> bool) {
    interrupts::disable();
    if idle() {
        // SAFETY: unmasks interrupts and waits for one; touches no memory and no stack.
        unsafe { asm!("sti", "nop", "hlt", options(nostack)) };
    } else {
        interrupts::enable();
    }
}

/// Right for interrupts, but the NMI handler knows nothing of it: an NMI after the look is slept on.
fn nmi_forgotten(idle: &dyn Fn() -> bool) {
    interrupts::disable();
    if idle() {
        // SAFETY: as above.
        unsafe { asm!("sti", "hlt", options(nostack)) };
    } else {
        interrupts::enable();
    }
}

/// Lowers the NMI handler's flag after the look and not before it: an NMI during the look is slept on.
fn nmi_flag_lowered_late(idle: &dyn Fn() -> bool) {
    interrupts::disable();
    if idle() {
        halt::halt_if(|| true);
    } else {
        interrupts::enable();
    }
}
