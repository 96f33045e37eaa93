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
/// OCW3: the next read of the command port returns the in-service register.
#[cfg(feature = "bare")]
const READ_IN_SERVICE: u8 = 0x0b;

fn write(port: u16, value: u8) {
    // SAFETY: the ports of this module belong to the 8259As, whose commands only affect the
    // delivery of interrupts. Without an 8259A the write has no effect.
    unsafe { Port::new(port).write(value) }
}

fn read(port: u16) -> u8 {
    // SAFETY: reading an 8259A has no effect on memory. Without one the value read is 0xff.
    unsafe { Port::new(port).read() }
}

/// Moves the sixteen lines to the vectors in [`vector`] and masks them all. After reset they are on
/// vectors of exceptions.
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

/// Whether there is a PIC: writes a mask and reads it back. All lines are masked afterwards.
#[cfg(feature = "bare")]
pub(crate) fn is_present() -> bool {
    // All but the line of the second controller, whose own lines are all masked: no interrupt
    // comes.
    const ALL_BUT_SECOND: u8 = !(1 << 2);
    write(SECOND_DATA, 0xff);
    write(FIRST_DATA, ALL_BUT_SECOND);
    let mask = read(FIRST_DATA);
    write(FIRST_DATA, 0xff);
    mask == ALL_BUT_SECOND
}

/// Unmasks line `irq`. For 8 to 15 it also unmasks the line that connects the second controller to
/// the first.
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
    let (port, bit) = mask_bit(irq);
    critical_section::with(|_| write(port, read(port) & !bit));
    if irq >= 8 {
        unmask(2);
    }
}

/// Masks line `irq`, which is below 16.
#[cfg(feature = "bare")]
pub(crate) fn mask(irq: u8) {
    let (port, bit) = mask_bit(irq);
    critical_section::with(|_| write(port, read(port) | bit));
}

/// Whether line `irq`, which is below 16, is level triggered, by the edge/level control registers
/// (ELCR1 and ELCR2 of the 82371AB). Where there are none, all lines are edge triggered.
#[cfg(feature = "bare")]
pub(crate) fn is_level_triggered(irq: u8) -> bool {
    const FIRST_EDGE_LEVEL: u16 = 0x4d0;
    let levels = u16::from_le_bytes([read(FIRST_EDGE_LEVEL), read(FIRST_EDGE_LEVEL + 1)]);
    // Line 0 cannot be: nothing answers.
    levels & 1 == 0 && levels & 1 << irq != 0
}

/// Whether line `irq`, which is below 16, is masked; without a PIC it is.
#[cfg(feature = "bare")]
pub(crate) fn is_masked(irq: u8) -> bool {
    let (port, bit) = mask_bit(irq);
    read(port) & bit != 0
}

/// The register with the mask of line `irq`, and its bit in it.
fn mask_bit(irq: u8) -> (u16, u8) {
    if irq < 8 {
        (FIRST_DATA, 1 << irq)
    } else {
        (SECOND_DATA, 1 << (irq - 8))
    }
}

/// Ends the interrupt of line `irq`, as its handler must.
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

/// Whether an interrupt on line `irq` is spurious: a line was no longer raised when the processor
/// asked for it. The controller then reports its last line, 7 or 15, which is not in service.
#[cfg(feature = "bare")]
pub(crate) fn is_spurious(irq: u8) -> bool {
    let command = match irq {
        7 => FIRST_COMMAND,
        15 => SECOND_COMMAND,
        _ => return false,
    };
    write(command, READ_IN_SERVICE);
    read(command) & 0x80 == 0
}

/// Ends a spurious interrupt. For one of the second controller, line 2 of the first is in service,
/// and gets an EOI.
#[cfg(feature = "bare")]
pub(crate) fn end_of_spurious(irq: u8) {
    if irq >= 8 {
        write(FIRST_COMMAND, EOI);
    }
}

/// Ends an interrupt of line 7 or 15 that has no other handler.
#[cfg(feature = "bare")]
pub(crate) fn end_of_last_line(irq: u8) {
    if is_spurious(irq) {
        end_of_spurious(irq);
    } else {
        end_of_interrupt(irq);
    }
}
