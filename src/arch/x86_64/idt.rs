//! The interrupt descriptor table.

use core::cell::RefCell;

use critical_section::Mutex;
use spin::Once;
use x86_64::{VirtAddr, structures::idt::InterruptDescriptorTable};

use super::{
    exceptions,
    exceptions::ExceptionFrame,
    halt,
    interrupt::{InterruptEntry, InterruptFrame},
    pic, segments, vector,
};
use crate::interrupt_entry;

static TABLE: Mutex<RefCell<InterruptDescriptorTable>> =
    Mutex::new(RefCell::new(InterruptDescriptorTable::new()));

static NMI_HANDLER: Once<fn(&InterruptFrame)> = Once::new();

/// Fills the table with the exceptions, the spurious interrupts and NMI, and loads it.
///
/// # Safety
///
/// Ring 0, interrupts masked, and [`segments::load`] has been called.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::arch::x86_64::{exceptions::ExceptionFrame, idt, interrupt::InterruptFrame};
///
/// fn on_exception(frame: &ExceptionFrame) -> ! {
///     dormir_guest::println!("{frame}");
///     dormir_guest::exit(1)
/// }
///
/// fn on_nmi(_frame: &InterruptFrame) {}
///
/// // SAFETY: ring 0, interrupts masked, and the segments are loaded.
/// unsafe { idt::load(on_exception, on_nmi) };
/// ```
pub unsafe fn load(on_exception: fn(&ExceptionFrame) -> !, on_nmi: fn(&InterruptFrame)) {
    exceptions::HANDLER.call_once(|| on_exception);
    NMI_HANDLER.call_once(|| on_nmi);
    critical_section::with(|cs| {
        let mut table = TABLE.borrow_ref_mut(cs);
        // SAFETY: the stubs are entries for the exceptions whose number they push.
        unsafe { fill_exceptions(&mut table) };
        for vector in vector::EXCEPTIONS..=u8::MAX {
            let address = VirtAddr::new(exceptions::stub(vector));
            // SAFETY: the stub is an entry for an interrupt, which pushes no error code.
            unsafe { table[vector].set_handler_addr(address) };
        }
    });
    let entries: [(u8, InterruptEntry); 3] = [
        (vector::SPURIOUS, spurious_entry),
        (vector::PIC_FIRST + 7, irq7_entry),
        (vector::PIC_SECOND + 7, irq15_entry),
    ];
    for (vector, entry) in entries {
        // SAFETY: made by `interrupt_entry!`, each for what comes on its vector.
        unsafe { set_handler(vector, entry) };
    }
    critical_section::with(|cs| {
        let table = TABLE.borrow_ref(cs);
        // SAFETY: the table is in a static, and is written to by this module only, entry by entry.
        unsafe { table.load_unsafe() };
    });
}

/// Puts an interrupt entry into the table.
///
/// # Safety
///
/// `entry` must have been made by [`interrupt_entry!`](crate::interrupt_entry) or behave like it, and
/// must acknowledge the interrupts that come on `vector`.
///
/// # Panics
///
/// If `vector` is an exception's (below 32).
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::{
///     arch::x86_64::{idt, interrupt::InterruptFrame, pic, vector},
///     interrupt_entry, time::TimerQueue,
/// };
///
/// extern "sysv64" fn on_timer(_frame: &InterruptFrame) {
///     pic::end_of_interrupt(0);
///     TimerQueue::global().on_interrupt();
/// }
/// interrupt_entry!(timer_entry => on_timer);
///
/// // SAFETY: made by `interrupt_entry!`, and ends the PIC's interrupt.
/// unsafe { idt::set_handler(vector::PIT, timer_entry) };
/// ```
pub unsafe fn set_handler(vector: u8, entry: InterruptEntry) {
    vector::assert_interrupt(vector);
    critical_section::with(|cs| {
        let mut table = TABLE.borrow_ref_mut(cs);
        let address = VirtAddr::new(entry as usize as u64);
        // SAFETY: the caller says that it is an interrupt entry.
        unsafe { table[vector].set_handler_addr(address) };
    });
}

/// # Safety
///
/// As for the fields' `set_handler_addr`: the stubs must be entries for their exceptions.
unsafe fn fill_exceptions(table: &mut InterruptDescriptorTable) {
    macro_rules! fill {
        ($($number:literal $field:ident $(on $stack:expr)?),* $(,)?) => {$({
            let address = VirtAddr::new(exceptions::stub($number));
            // SAFETY: the stub pushes what this exception does not, as the caller says.
            let _options = unsafe { table.$field.set_handler_addr(address) };
            $(
                // SAFETY: `segments::load` has put a stack at this index.
                unsafe { _options.set_stack_index($stack) };
            )?
        })*};
    }
    fill!(
        0 divide_error,
        1 debug,
        3 breakpoint,
        4 overflow,
        5 bound_range_exceeded,
        6 invalid_opcode,
        7 device_not_available,
        8 double_fault on segments::DOUBLE_FAULT_STACK,
        10 invalid_tss,
        11 segment_not_present,
        12 stack_segment_fault,
        13 general_protection_fault,
        14 page_fault,
        16 x87_floating_point,
        17 alignment_check,
        18 machine_check on segments::MACHINE_CHECK_STACK,
        19 simd_floating_point,
        20 virtualization,
        21 cp_protection_exception,
        28 hv_injection_exception,
        29 vmm_communication_exception,
        30 security_exception,
    );
    let address = VirtAddr::new(nmi_entry as *const () as u64);
    // SAFETY: made by `interrupt_entry!`, for an exception without an error code.
    let options = unsafe { table.non_maskable_interrupt.set_handler_addr(address) };
    // SAFETY: `segments::load` has put a stack at this index.
    unsafe { options.set_stack_index(segments::NMI_STACK) };
}

/// The one handler that changes where the interrupted code goes on.
extern "sysv64" fn on_nmi(frame: &mut InterruptFrame) {
    if let Some(handler) = NMI_HANDLER.get() {
        handler(frame);
    }
    frame.rip = halt::on_nmi(frame.rip);
}
interrupt_entry!(@entry () nmi_entry => on_nmi as extern "sysv64" fn(&mut InterruptFrame));

/// Not in service, so it must get no EOI: that would end another interrupt (SDM vol. 3, 12.9).
extern "sysv64" fn on_spurious(_frame: &InterruptFrame) {}
interrupt_entry!(spurious_entry => on_spurious);

extern "sysv64" fn on_irq7(_frame: &InterruptFrame) {
    pic::end_of_last_line(7);
}
interrupt_entry!(irq7_entry => on_irq7);

extern "sysv64" fn on_irq15(_frame: &InterruptFrame) {
    pic::end_of_last_line(15);
}
interrupt_entry!(irq15_entry => on_irq15);
