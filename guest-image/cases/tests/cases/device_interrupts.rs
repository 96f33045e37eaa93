//! Tests of lines and vectors that drivers claim.

use alloc::vec::Vec;
use core::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use dormir::{
    arch::x86_64::{interrupt::InterruptFrame, vector},
    block_on,
    idle::Halt,
    interrupt_entry,
    platform::bare::{self, ClaimError, DeviceInterrupt, unclaimed_interrupts},
};
use x86_64::instructions::{interrupts, port::Port};

use crate::interrupts::pretend_interrupt;

/// What the device does: its message, as an interrupt of this vCPU.
fn send_message(interrupt: &DeviceInterrupt) {
    let message = interrupt.message().expect("a vector has a message");
    assert_eq!(message.address >> 20, 0xfee);
    let apic = bare::machine().and_then(|machine| machine.apic);
    apic.expect("every machine here has a local APIC")
        .interrupt_self(message.data as u8);
}

/// Pretends an interrupt of line `irq`, which no test here has on 7 or 15.
fn raise(irq: u8) {
    pretend_interrupt(vector::PIC_FIRST + irq);
}

/// Whether line `irq`, below 8, is masked in the PIC.
fn is_masked(irq: u8) -> bool {
    // SAFETY: reading the mask has no effect.
    let mask = unsafe { Port::<u8>::new(0x21).read() };
    mask & 1 << irq != 0
}

/// Each message wakes a task that sleeps.
#[dormir_guest::test]
fn messages_wake() {
    let mut interrupt = DeviceInterrupt::vector().expect("one is free");
    assert_eq!(interrupt.irq(), None);
    interrupts::disable();
    block_on(
        async {
            for _ in 0..100 {
                send_message(&interrupt);
                assert_eq!(interrupt.wait().await, 1);
                interrupts::disable();
            }
        },
        Halt,
    );
    interrupts::enable();
    assert_eq!(unclaimed_interrupts(), 0);
}

/// 32 claims have 32 vectors. The next is refused until one is dropped.
#[dormir_guest::test]
fn as_many_as_there_are() {
    for _ in 0..3 {
        let mut claims: Vec<_> = (0..31)
            .map(|_| DeviceInterrupt::vector().expect("one is free"))
            .collect();
        claims.push(DeviceInterrupt::line(5).expect("it is a device's"));
        let mut vectors: Vec<_> = claims[..31]
            .iter()
            .map(|claim| claim.message().expect("it has one").data)
            .collect();
        vectors.sort_unstable();
        vectors.dedup();
        assert_eq!(vectors.len(), 31);
        assert_eq!(DeviceInterrupt::vector().err(), Some(ClaimError::TooMany));
        assert_eq!(DeviceInterrupt::line(5).err(), Some(ClaimError::TooMany));
        claims.swap_remove(7);
        drop(DeviceInterrupt::line(5).expect("there is one again"));
    }
}

/// Every driver on a line is signalled, and the line is masked when none is left.
#[dormir_guest::test]
fn a_line_is_shared() {
    assert!(is_masked(5));
    let one = DeviceInterrupt::line(5).expect("it is a device's");
    assert!(!is_masked(5));
    let other = DeviceInterrupt::line(5).expect("lines are shared");
    assert_eq!((one.irq(), one.message()), (Some(5), None));
    raise(5);
    raise(5);
    assert_eq!((one.take(), other.take()), (2, 2));
    drop(one);
    assert!(!is_masked(5));
    raise(5);
    assert_eq!(other.take(), 1);
    assert_eq!(unclaimed_interrupts(), 0);
    drop(other);
    assert!(is_masked(5));
    raise(5);
    assert_eq!(unclaimed_interrupts(), 1);
}

/// The driver of another line does not mask it, neither when it comes nor when it goes.
#[dormir_guest::test]
fn lines_are_masked_by_themselves() {
    let one = DeviceInterrupt::line(5).expect("it is a device's");
    let other = DeviceInterrupt::line(6).expect("it is a device's");
    assert!(!is_masked(5) && !is_masked(6));
    drop(one);
    assert!(is_masked(5) && !is_masked(6));
    drop(other);
    assert!(is_masked(5) && is_masked(6));
}

/// A masked driver is not signalled, and looks once when it is unmasked.
#[dormir_guest::test]
fn masked_and_unmasked() {
    let one = DeviceInterrupt::line(6).expect("it is a device's");
    let other = DeviceInterrupt::line(6).expect("lines are shared");
    one.mask();
    raise(6);
    assert_eq!((one.take(), other.take()), (0, 1));
    other.mask();
    assert!(is_masked(6));
    one.unmask();
    assert!(!is_masked(6));
    assert_eq!((one.take(), other.take()), (1, 0));
    raise(6);
    assert_eq!((one.take(), other.take()), (1, 0));
}

/// A vector stays its driver's while it is masked, and a driver that tells of an acknowledgement
/// makes the others of its line look.
#[dormir_guest::test]
fn masked_vectors_and_acknowledged_lines() {
    let masked = DeviceInterrupt::vector().expect("one is free");
    masked.mask();
    let other = DeviceInterrupt::vector().expect("one is free");
    assert_ne!(masked.message(), other.message());
    other.acknowledged();
    assert_eq!((masked.take(), other.take()), (0, 0));
    let one = DeviceInterrupt::line(5).expect("it is a device's");
    let two = DeviceInterrupt::line(5).expect("lines are shared");
    one.acknowledged();
    assert_eq!((one.take(), two.take()), (0, 1));
}

/// A level-triggered line would interrupt without an end: it is refused.
#[dormir_guest::test]
fn level_triggered_lines_are_refused() {
    let mut levels = Port::<u8>::new(0x4d1);
    // SAFETY: reading the register has no effect.
    let before = unsafe { levels.read() };
    // SAFETY: no device here has line 9, which stays masked.
    unsafe { levels.write(before | 1 << 1) };
    // SAFETY: as above.
    let is_there = unsafe { levels.read() } & 1 << 1 != 0;
    assert!(is_there, "every machine here has the register");
    let refused = DeviceInterrupt::line(9).err();
    assert_eq!(refused, Some(ClaimError::LevelTriggered { irq: 9 }));
    // SAFETY: as above.
    unsafe { levels.write(before & !(1 << 1)) };
    assert!(DeviceInterrupt::line(9).is_ok());
}

/// A line whose handler the program has set itself is left alone by the driver that goes.
#[dormir_guest::test]
fn a_line_that_was_taken_stays_as_it_is() {
    extern "sysv64" fn on_line(_frame: &InterruptFrame) {}
    interrupt_entry!(entry => on_line);
    let line = DeviceInterrupt::line(5).expect("it is a device's");
    // SAFETY: made by `interrupt_entry!`; nothing here raises the line.
    unsafe { bare::set_interrupt_handler(vector::PIC_FIRST + 5, entry) };
    drop(line);
    assert!(!is_masked(5));
}

/// Lines that no device has, and those of handlers of the program's own.
#[dormir_guest::test]
fn refused() {
    extern "sysv64" fn on_line(_frame: &InterruptFrame) {}
    interrupt_entry!(entry => on_line);
    for irq in [0, 2, 16, 255] {
        let refused = DeviceInterrupt::line(irq).err();
        assert_eq!(refused, Some(ClaimError::Reserved { irq }));
    }
    // SAFETY: made by `interrupt_entry!`; the line stays masked.
    unsafe { bare::set_interrupt_handler(vector::PIC_FIRST + 3, entry) };
    assert_eq!(DeviceInterrupt::line(3).err(), Some(ClaimError::InUse));
    let mine = DeviceInterrupt::vector().expect("one is free");
    let number = mine.message().expect("it has one").data as u8;
    drop(mine);
    // SAFETY: the same; nothing sends it.
    unsafe { bare::set_interrupt_handler(number, entry) };
    let next = DeviceInterrupt::vector().expect("others are free");
    assert_ne!(
        next.message().map(|message| message.data as u8),
        Some(number)
    );
}

/// Spurious interrupts of the PICs signal no driver.
#[dormir_guest::test]
fn spurious_signal_none() {
    let first = DeviceInterrupt::line(7).expect("it is a device's");
    let second = DeviceInterrupt::line(15).expect("it is a device's");
    pretend_interrupt(vector::PIC_FIRST + 7);
    pretend_interrupt(vector::PIC_SECOND + 7);
    assert_eq!((first.take(), second.take()), (0, 0));
    assert_eq!(unclaimed_interrupts(), 0);
}

/// Interrupts that one driver has not taken do not reach the next.
#[dormir_guest::test]
fn the_next_driver_begins_anew() {
    let first = DeviceInterrupt::line(5).expect("it is a device's");
    raise(5);
    drop(first);
    let second = DeviceInterrupt::line(5).expect("it is free");
    assert_eq!(second.take(), 0);
}

/// A wait that is dropped leaves what it has not returned.
#[dormir_guest::test]
fn a_wait_may_be_dropped() {
    let mut interrupt = DeviceInterrupt::line(5).expect("it is a device's");
    let mut cx = Context::from_waker(Waker::noop());
    {
        let mut wait = pin!(interrupt.wait());
        assert!(wait.as_mut().poll(&mut cx).is_pending());
        raise(5);
    }
    assert_eq!(pin!(interrupt.wait()).poll(&mut cx), Poll::Ready(1));
    assert_eq!(interrupt.poll_wait(&mut cx), Poll::Pending);
}
