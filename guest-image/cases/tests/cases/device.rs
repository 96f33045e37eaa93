//! A device that interrupts on request.

use core::{
    cell::Cell,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use critical_section::Mutex;
use dormir::{
    arch::x86_64::{halt, interrupt::InterruptFrame, vector},
    interrupt_entry,
    platform::bare,
};

/// The local APIC, which interrupts its own vCPU. There is one such device.
#[derive(Clone, Copy)]
pub(crate) struct TestDevice(());

static ON_INTERRUPT: Mutex<Cell<fn()>> = Mutex::new(Cell::new(|| ()));
static IS_HANDLING: AtomicBool = AtomicBool::new(false);
static INTERRUPTS: AtomicU32 = AtomicU32::new(0);
static RETURNS_TO_HALT: AtomicU32 = AtomicU32::new(0);

extern "sysv64" fn on_device(frame: &InterruptFrame) {
    INTERRUPTS.fetch_add(1, Ordering::Relaxed);
    if frame.rip == halt::halt_instruction() + 1 {
        RETURNS_TO_HALT.fetch_add(1, Ordering::Relaxed);
    }
    bare::end_of_interrupt();
    let handle = critical_section::with(|cs| ON_INTERRUPT.borrow(cs).get());
    IS_HANDLING.store(true, Ordering::Relaxed);
    handle();
    IS_HANDLING.store(false, Ordering::Relaxed);
}
interrupt_entry!(device_entry => on_device);

/// Sends this vCPU the device's interrupt.
pub(crate) fn interrupt_self() {
    let apic = bare::machine().and_then(|machine| machine.apic);
    apic.expect("every machine here has a local APIC")
        .interrupt_self(vector::FREE);
}

impl TestDevice {
    /// Makes the device's handler call `on_interrupt`, and resets its counts.
    pub(crate) fn new(on_interrupt: fn()) -> Self {
        critical_section::with(|cs| ON_INTERRUPT.borrow(cs).set(on_interrupt));
        INTERRUPTS.store(0, Ordering::Relaxed);
        RETURNS_TO_HALT.store(0, Ordering::Relaxed);
        // SAFETY: made by `interrupt_entry!`, and acknowledges the local APIC's interrupt.
        unsafe { bare::set_interrupt_handler(vector::FREE, device_entry) };
        Self(())
    }

    /// Sends an interrupt, which arrives soon, or when interrupts are unmasked.
    pub(crate) fn interrupt(&self) {
        interrupt_self();
    }

    /// Sends an interrupt and waits until it has arrived: while one is pending, a second of the
    /// same vector would be lost.
    pub(crate) fn interrupt_now(&self) {
        let before = self.interrupts();
        self.interrupt();
        while self.interrupts() == before {
            core::hint::spin_loop();
        }
    }

    /// Returns how many interrupts have arrived.
    pub(crate) fn interrupts(&self) -> u32 {
        INTERRUPTS.load(Ordering::Relaxed)
    }

    /// Returns how many of them ended the `hlt` of `Halt`.
    pub(crate) fn halts_ended(&self) -> u32 {
        RETURNS_TO_HALT.load(Ordering::Relaxed)
    }

    /// Returns whether the device's handler is running.
    pub(crate) fn is_handling() -> bool {
        IS_HANDLING.load(Ordering::Relaxed)
    }
}
