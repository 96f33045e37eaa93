//! The interrupt descriptor table.

use core::cell::RefCell;

use critical_section::Mutex;
use x86_64::{
    VirtAddr,
    instructions::tables::lidt,
    registers::segmentation::{CS, Segment},
    structures::DescriptorTablePointer,
};

use super::{
    apic, exceptions,
    exceptions::{ExceptionFrame, Handlers},
    halt,
    interrupt::{InterruptEntry, InterruptFrame},
    pic, segments, vector,
};
use crate::interrupt_entry;

const NMI: usize = 2;
const DOUBLE_FAULT: usize = 8;
const MACHINE_CHECK: usize = 18;

/// A gate (SDM vol. 3, figure 7-8): the address of an entry, in three pieces, and how it is
/// entered.
#[repr(C)]
#[derive(Clone, Copy)]
struct InterruptGate {
    address_low: u16,
    segment: u16,
    /// Which stack of the task state segment the processor switches to, from 1 on; 0 for none.
    stack: u8,
    attributes: u8,
    address_middle: u16,
    address_high: u32,
    reserved: u32,
}

impl InterruptGate {
    /// Present, ring 0, type 14: an interrupt gate, which masks interrupts.
    const INTERRUPT: u8 = 0x8e;

    const MISSING: Self = Self {
        address_low: 0,
        segment: 0,
        stack: 0,
        attributes: 0,
        address_middle: 0,
        address_high: 0,
        reserved: 0,
    };

    /// Leads to `address`, in the current code segment, on the interrupted stack.
    fn to(address: u64) -> Self {
        Self {
            address_low: address as u16,
            segment: CS::get_reg().0,
            stack: 0,
            attributes: Self::INTERRUPT,
            address_middle: (address >> 16) as u16,
            address_high: (address >> 32) as u32,
            reserved: 0,
        }
    }

    /// The address that it leads to.
    fn address(&self) -> u64 {
        u64::from(self.address_low)
            | u64::from(self.address_middle) << 16
            | u64::from(self.address_high) << 32
    }
}

#[repr(C, align(16))]
struct InterruptTable([InterruptGate; 256]);

static TABLE: Mutex<RefCell<InterruptTable>> =
    Mutex::new(RefCell::new(InterruptTable([InterruptGate::MISSING; 256])));

/// Fills the table and loads it: exceptions and unexpected interrupts go to `on_exception`, NMIs to
/// `on_nmi`, spurious interrupts nowhere.
///
/// # Safety
///
/// Ring 0, interrupts masked, and [`segments::load`] has been called.
pub(crate) unsafe fn load(on_exception: fn(&ExceptionFrame) -> !, on_nmi: fn(&InterruptFrame)) {
    exceptions::HANDLERS.call_once(|| Handlers {
        on_exception,
        on_nmi,
    });
    critical_section::with(|cs| {
        let InterruptTable(gates) = &mut *TABLE.borrow_ref_mut(cs);
        for (vector, gate) in (0..=u8::MAX).zip(gates.iter_mut()) {
            *gate = InterruptGate::to(exceptions::stub(vector));
        }
        for (vector, entry) in [
            (NMI, nmi_entry as InterruptEntry),
            (vector::SPURIOUS.into(), spurious_entry),
            ((vector::PIC_FIRST + 7).into(), irq7_entry),
            ((vector::PIC_SECOND + 7).into(), irq15_entry),
        ] {
            gates[vector] = InterruptGate::to(entry as usize as u64);
        }
        for (vector, stack) in [
            (NMI, segments::NMI_STACK),
            (DOUBLE_FAULT, segments::DOUBLE_FAULT_STACK),
            (MACHINE_CHECK, segments::MACHINE_CHECK_STACK),
        ] {
            gates[vector].stack = stack as u8 + 1;
        }
        let pointer = DescriptorTablePointer {
            limit: (size_of::<InterruptTable>() - 1) as u16,
            base: VirtAddr::from_ptr(gates),
        };
        // SAFETY: the table is in a static, and only this module writes to it, gate by gate. Each
        // gate leads to a stub of its exception or to an entry made by `interrupt_entry!`; the
        // stacks are those that `segments::load` has put at these indices.
        unsafe { lidt(&pointer) };
    });
}

/// Puts an interrupt entry into the table.
///
/// # Safety
///
/// `entry` must have been made by [`interrupt_entry!`](crate::interrupt_entry) or behave like it,
/// and must acknowledge the interrupts that come on `vector`.
///
/// # Panics
///
/// If `vector` is an exception's (below 32).
#[inline(never)]
pub(crate) unsafe fn set_handler(vector: u8, entry: InterruptEntry) {
    vector::assert_interrupt(vector);
    critical_section::with(|cs| {
        let InterruptTable(gates) = &mut *TABLE.borrow_ref_mut(cs);
        gates[usize::from(vector)] = InterruptGate::to(entry as usize as u64);
    });
}

/// Whether nothing has put an entry into the table for `vector`, which is an interrupt's.
pub(crate) fn is_unhandled(vector: u8) -> bool {
    let address = address_of(vector);
    address == exceptions::stub(vector)
        || [irq7_entry as InterruptEntry, irq15_entry]
            .into_iter()
            .any(|entry| address == entry as usize as u64)
}

/// Whether `entry` is in the table for `vector`.
pub(crate) fn has_handler(vector: u8, entry: InterruptEntry) -> bool {
    address_of(vector) == entry as usize as u64
}

fn address_of(vector: u8) -> u64 {
    critical_section::with(|cs| {
        let InterruptTable(gates) = &*TABLE.borrow_ref(cs);
        gates[usize::from(vector)].address()
    })
}

/// The only handler that changes where the interrupted code continues.
extern "sysv64" fn on_nmi(frame: &mut InterruptFrame) {
    if let Some(handlers) = exceptions::HANDLERS.get() {
        (handlers.on_nmi)(frame);
    }
    frame.rip = halt::on_nmi(frame.rip);
}
interrupt_entry!(@entry () nmi_entry => on_nmi as extern "sysv64" fn(&mut InterruptFrame));

extern "sysv64" fn on_spurious(_frame: &InterruptFrame) {
    apic::end_of_spurious();
}
interrupt_entry!(spurious_entry => on_spurious);

extern "sysv64" fn on_irq7(_frame: &InterruptFrame) {
    pic::end_of_last_line(7);
}
interrupt_entry!(irq7_entry => on_irq7);

extern "sysv64" fn on_irq15(_frame: &InterruptFrame) {
    pic::end_of_last_line(15);
}
interrupt_entry!(irq15_entry => on_irq15);
