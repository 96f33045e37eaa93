//! Two interrupts in one step: the first one's handler sends the second.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use dormir::{
    arch::x86_64::{interrupt::InterruptFrame, vector},
    interrupt_entry,
    platform::bare,
};
use dormir_programs::{hit, machine::apic};

/// The address that the first has interrupted; 0 if it has not come.
static FIRST: AtomicU64 = AtomicU64::new(0);
/// From the first to the second, in instructions.
static GAP: AtomicU32 = AtomicU32::new(0);
static SECOND_IS_NMI: AtomicBool = AtomicBool::new(false);
static BOTH_WAKE: AtomicBool = AtomicBool::new(false);

/// Puts the handlers into place.
pub(crate) fn install() {
    // SAFETY: the handler only stores, writes to the local APIC, and wakes: `block_on`'s waker is
    // a store.
    unsafe { dormir_guest::set_nmi_handler(on_either) };
    for vector in [vector::APIC_TIMER, vector::FREE] {
        // SAFETY: made by `interrupt_entry!`, and acknowledges the local APIC's interrupt.
        unsafe { bare::set_interrupt_handler(vector, either_entry) };
    }
}

fn on_either(frame: &InterruptFrame) {
    if FIRST.load(Ordering::Relaxed) != 0 {
        return hit::on_hit(frame);
    }
    FIRST.store(frame.rip, Ordering::Relaxed);
    match GAP.load(Ordering::Relaxed) {
        0 => apic().interrupt_self(vector::FREE),
        gap => {
            set_delivery(SECOND_IS_NMI.load(Ordering::Relaxed));
            apic().start_count(gap);
        }
    }
    if BOTH_WAKE.load(Ordering::Relaxed) {
        hit::wake();
    }
}

extern "sysv64" fn on_interrupt(frame: &InterruptFrame) {
    on_either(frame);
    apic().end_of_interrupt();
}
interrupt_entry!(either_entry => on_interrupt);

fn set_delivery(is_nmi: bool) {
    if is_nmi {
        apic().one_shot_nmi_mode();
    } else {
        apic().one_shot_mode();
    }
}

/// Chooses how the second comes, and whether the first wakes the task, too.
pub(crate) fn choose(second_is_nmi: bool, both_wake: bool) {
    SECOND_IS_NMI.store(second_is_nmi, Ordering::Relaxed);
    BOTH_WAKE.store(both_wake, Ordering::Relaxed);
}

/// Aims the first, from which the second is `gap` instructions away.
pub(crate) fn aim(first_is_nmi: bool, gap: u32) {
    FIRST.store(0, Ordering::Relaxed);
    GAP.store(gap, Ordering::Relaxed);
    set_delivery(first_is_nmi);
}

/// The address that the first has interrupted; 0 if it has not come.
pub(crate) fn first() -> u64 {
    FIRST.load(Ordering::Relaxed)
}
