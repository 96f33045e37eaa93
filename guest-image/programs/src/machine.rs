//! The timers of a sweep: the local APIC's timer sends the aimed interrupt; the PIT ends a sleep
//! that should have ended earlier.

use core::sync::atomic::{AtomicBool, Ordering};

use dormir::{
    arch::x86_64::{apic::Apic, interrupt::InterruptFrame, pic, pit, vector},
    interrupt_entry,
    platform::bare,
    time::TimerQueue,
};
use spin::Once;

use crate::hit;

/// How the aimed interrupt is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As an interrupt, which comes when interrupts are unmasked.
    Interrupt,
    /// As an NMI, which nothing masks.
    Nmi,
}

static APIC: Once<Apic> = Once::new();

/// Returns the local APIC.
///
/// # Panics
///
/// Panics if it is called before [`init`].
pub fn apic() -> &'static Apic {
    APIC.get().expect("machine::init comes first")
}

/// Whether the PIT has interrupted. The code that starts the PIT reads and clears it.
pub static PIT_CAME: AtomicBool = AtomicBool::new(false);

/// Sets up PIC, PIT and local APIC. Interrupts stay masked.
///
/// # Errors
///
/// There is no PIT.
pub fn init() -> Result<(), &'static str> {
    pic::init();
    if !pit::is_present() {
        return Err("the sweeps need a PIT");
    }
    pic::unmask(0);
    // SAFETY: ring 0, a local APIC in xAPIC mode after reset, its page mapped uncached.
    APIC.call_once(|| unsafe { Apic::enable_xapic() });
    // SAFETY: made by `interrupt_entry!`, and acknowledges the PIT's interrupt.
    unsafe { bare::set_interrupt_handler(vector::PIT, pit_entry) };
    Ok(())
}

/// Makes the local APIC's timer send the interrupt of [`hit`].
pub fn aim(delivery: Delivery) {
    match delivery {
        Delivery::Interrupt => apic().one_shot_mode(),
        Delivery::Nmi => apic().one_shot_nmi_mode(),
    }
    // SAFETY: the handler only stores and wakes: `block_on`'s waker is a store, an executor's sets
    // bits.
    unsafe { dormir_guest::set_nmi_handler(hit::on_hit) };
    // SAFETY: made by `interrupt_entry!`, and acknowledges the local APIC's interrupt.
    unsafe { bare::set_interrupt_handler(vector::APIC_TIMER, hit_entry) };
}

extern "sysv64" fn on_apic_hit(frame: &InterruptFrame) {
    hit::on_hit(frame);
    apic().end_of_interrupt();
}
interrupt_entry!(hit_entry => on_apic_hit);

/// Serves as an alarm, or ends a lost sleep: either way the run loop goes round once more.
extern "sysv64" fn on_pit(_frame: &InterruptFrame) {
    pic::end_of_interrupt(0);
    PIT_CAME.store(true, Ordering::Relaxed);
    TimerQueue::global().on_interrupt();
}
interrupt_entry!(pit_entry => on_pit);
