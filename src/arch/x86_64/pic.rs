//! The two 8259A interrupt controllers.

use x86_64::instructions::port::Port;

use super::vector;

const FIRST_COMMAND: u16 = 0x20;
const FIRST_DATA: u16 = 0x21;
const SECOND_COMMAND: u16 = 0xa0;
const SECOND_DATA: u16 = 0xa1;

// 8259A data sheet, "Initialization command words" and "Operation command words".
/// ICW1: edge triggered, cascaded, ICW4 follows.
const ICW1_INIT: u8 = 0x11;
/// ICW3 of the first: the second is on its input 2.
const ICW3_FIRST: u8 = 1 << 2;
/// ICW3 of the second: it is input 2.
const ICW3_SECOND: u8 = 2;
/// ICW4: 8086 mode, normal end of interrupt.
const ICW4_8086: u8 = 0x01;
/// OCW2: non-specific end of interrupt.
const EOI: u8 = 0x20;
/// OCW3: the next read of the command port answers the in-service register.
const READ_IN_SERVICE: u8 = 0x0b;

fn write(port: u16, value: u8) {
    // SAFETY: the ports of this module belong to the 8259As, whose commands affect interrupt
    // delivery only; where there is none, the write goes nowhere.
    unsafe { Port::new(port).write(value) }
}

fn read(port: u16) -> u8 {
    // SAFETY: reading an 8259A has no effect on memory; where there is none, it answers 0xff.
    unsafe { Port::new(port).read() }
}

/// Moves the sixteen lines to the vectors in [`vector`], away from the exceptions where the firmware
/// left them, and masks them all.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::arch::x86_64::pic;
///
/// pic::init();
/// // The keyboard, once there is a handler on `vector::PIC_FIRST + 1`.
/// pic::unmask(1);
/// ```
pub fn init() {
    for (command, data, first_vector, icw3) in [
        (FIRST_COMMAND, FIRST_DATA, vector::PIC_FIRST, ICW3_FIRST),
        (SECOND_COMMAND, SECOND_DATA, vector::PIC_SECOND, ICW3_SECOND),
    ] {
        write(command, ICW1_INIT);
        write(data, first_vector);
        write(data, icw3);
        write(data, ICW4_8086);
        write(data, 0xff);
    }
}

/// Whether there is a PIC: writes a mask and asks for it. All lines are masked then, as after [`init`].
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::{arch::x86_64::{pic, pit}, platform::bare::{self, Config, TimerSource}};
///
/// pic::init();
/// // The PIT's interrupts come through the PIC.
/// let timer = (pit::is_present() && pic::is_present()).then_some(TimerSource::Pit);
/// let config = Config { timer, ..Config::default() };
/// // SAFETY: ring 0, one vCPU, interrupts masked, tables and pages as they must be; called once.
/// let machine = unsafe { bare::init(config) }?;
/// # assert!(timer.is_none_or(|timer| timer == machine.timer));
/// # Ok::<(), bare::InitError>(())
/// ```
#[must_use]
pub fn is_present() -> bool {
    // The line of the second controller, which has all of its own masked: so nothing comes through.
    const ALL_BUT_SECOND: u8 = !(1 << 2);
    write(SECOND_DATA, 0xff);
    write(FIRST_DATA, ALL_BUT_SECOND);
    let answer = read(FIRST_DATA);
    write(FIRST_DATA, 0xff);
    answer == ALL_BUT_SECOND
}

/// Lets line `irq` through; for 8 to 15 also the line by which the second controller reaches the
/// first. Not from an interrupt handler: it reads the mask and writes it back.
///
/// # Panics
///
/// If `irq` is above 15.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::{
///     arch::x86_64::{interrupt::InterruptFrame, pic, vector},
///     interrupt_entry, platform::bare,
/// };
///
/// /// The real-time clock, line 8.
/// extern "sysv64" fn on_rtc(_frame: &InterruptFrame) {
///     pic::end_of_interrupt(8);
/// }
/// interrupt_entry!(rtc_entry => on_rtc);
///
/// // SAFETY: made by `interrupt_entry!`, and ends the PIC's interrupt.
/// unsafe { bare::set_interrupt_handler(vector::PIC_SECOND, rtc_entry) };
/// // After that, not before.
/// pic::unmask(8);
/// ```
pub fn unmask(irq: u8) {
    assert!(irq < 16, "the two controllers have 16 lines");
    let (port, bit) = if irq < 8 {
        (FIRST_DATA, irq)
    } else {
        (SECOND_DATA, irq - 8)
    };
    write(port, read(port) & !(1 << bit));
    if irq >= 8 {
        unmask(2);
    }
}

/// Ends the interrupt of line `irq`.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::{
///     Event, arch::x86_64::{interrupt::InterruptFrame, pic}, interrupt_entry,
/// };
///
/// static KEY: Event = Event::new();
///
/// extern "sysv64" fn on_keyboard(_frame: &InterruptFrame) {
///     KEY.signal();
///     pic::end_of_interrupt(1);
/// }
/// interrupt_entry!(keyboard_entry => on_keyboard);
/// # let frame = InterruptFrame { rip: 0, cs: 8, rflags: 2, rsp: 0, ss: 16 };
/// # on_keyboard(&frame);
/// # assert_eq!(KEY.take(), 1);
/// ```
#[inline]
pub fn end_of_interrupt(irq: u8) {
    if irq >= 8 {
        write(SECOND_COMMAND, EOI);
    }
    write(FIRST_COMMAND, EOI);
}

/// Whether an interrupt on line 7 or 15 is spurious: a line that went away before the processor asked
/// for it, reported as the controller's last line without being in service.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::arch::x86_64::{interrupt::InterruptFrame, pic};
///
/// /// The parallel port, on the first controller's last line.
/// extern "sysv64" fn on_irq7(_frame: &InterruptFrame) {
///     if pic::is_spurious(7) {
///         return; // Nothing is in service, so nothing is to be ended.
///     }
///     // Serve the device, then:
///     pic::end_of_interrupt(7);
/// }
/// # pic::init();
/// # assert!(pic::is_spurious(7), "no interrupt is in service");
/// # on_irq7(&InterruptFrame { rip: 0, cs: 8, rflags: 2, rsp: 0, ss: 16 });
/// ```
#[must_use]
pub fn is_spurious(irq: u8) -> bool {
    let command = if irq < 8 {
        FIRST_COMMAND
    } else {
        SECOND_COMMAND
    };
    write(command, READ_IN_SERVICE);
    read(command) & 0x80 == 0
}

/// The handler's part for IRQ 7 and 15 when nothing but noise is expected there: a spurious interrupt
/// of the second controller is still one of line 2 to the first, which gets its EOI; a real one gets
/// the usual.
#[cfg(feature = "bare")]
pub(crate) fn end_of_last_line(irq: u8) {
    match (irq, is_spurious(irq)) {
        (7, true) => {}
        (_, true) => write(FIRST_COMMAND, EOI),
        (_, false) => end_of_interrupt(irq),
    }
}
