//! Interrupts that nobody asked for, on each vector that has a handler: late ones of devices and
//! timers that are gone, and those that a device sends on a vector which is not its own. They come
//! as messages do, so each is in service until it is ended.

use alloc::vec::Vec;
use core::{hint::spin_loop, time::Duration};

use dormir::{
    arch::x86_64::{apic::Apic, vector},
    block_on,
    idle::Halt,
    platform::bare::{self, DeviceInterrupt, unclaimed_interrupts},
    time::{Instant, Timer},
};

fn apic() -> Apic {
    let apic = bare::machine().and_then(|machine| machine.apic);
    apic.expect("every machine here has a local APIC")
}

fn nap() {
    let deadline = Instant::now().saturating_add(Duration::from_micros(200));
    block_on(Timer::at(deadline), Halt);
    assert!(Instant::now() >= deadline, "it ended early");
}

/// Sends an interrupt, once outside of a loop and once within a poll, and naps after each: the
/// timer's interrupts still come.
fn stray(vector: u8) {
    stray_until(vector, || ());
}

/// The same, and has `arrive` wait for each of the two: a KVM that emulates its guest delivers an
/// interrupt up to a thousand instructions late, which may be longer than a nap.
fn stray_until(vector: u8, mut arrive: impl FnMut()) {
    apic().interrupt_self(vector);
    arrive();
    nap();
    block_on(
        async {
            let timer = Timer::after(Duration::from_micros(500));
            apic().interrupt_self(vector);
            timer.await;
        },
        Halt,
    );
    arrive();
    nap();
}

/// Those of the processor's own controller: its timer and its spurious vector.
#[dormir_guest::test]
fn of_the_local_apic() {
    for vector in [vector::APIC_TIMER, vector::SPURIOUS] {
        (0..3).for_each(|_| stray(vector));
    }
    // One that is pending at the look before the halt, at which the timer is not due.
    let before = bare::timer_interrupts();
    apic().interrupt_self(vector::APIC_TIMER);
    while bare::timer_interrupts() == before {
        spin_loop();
    }
    nap();
}

/// Those of the PICs' lines: of the PIT, of the last lines, and of lines with a driver.
#[dormir_guest::test]
fn of_the_lines() {
    for vector in [vector::PIT, vector::PIC_FIRST + 7, vector::PIC_SECOND + 7] {
        (0..3).for_each(|_| stray(vector));
    }
    let lines = (1..16).filter(|irq| *irq != 2);
    let claims: Vec<_> = lines
        .filter_map(|irq| DeviceInterrupt::line(irq).ok())
        .collect();
    assert!(claims.len() >= 8, "lines of a PC");
    for claim in &claims {
        stray(vector::PIC_FIRST + claim.irq().expect("it is a line"));
    }
    let vectors: Vec<_> = claims.iter().filter_map(DeviceInterrupt::irq).collect();
    drop(claims);
    vectors
        .into_iter()
        .for_each(|irq| stray(vector::PIC_FIRST + irq));
}

/// Messages to drivers, and to drivers that are gone: these are counted.
#[dormir_guest::test]
fn of_messages() {
    let mut claims: Vec<_> = (0..32)
        .map(|_| DeviceInterrupt::vector().expect("there are 32"))
        .collect();
    let vector_of = |claim: &DeviceInterrupt| claim.message().expect("it has one").data as u8;
    for claim in &mut claims {
        stray_until(vector_of(claim), || {
            // By a halt: in a loop of `take` that KVM may always look while interrupts are masked.
            assert_eq!(block_on(claim.wait(), Halt), 1);
        });
        assert_eq!(claim.take(), 0);
    }
    assert_eq!(unclaimed_interrupts(), 0);
    let vectors: Vec<u8> = claims.iter().map(vector_of).collect();
    drop(claims);
    let mut counted = 0;
    for vector in vectors {
        stray_until(vector, || {
            counted += 1;
            while unclaimed_interrupts() < counted {
                spin_loop();
            }
            assert_eq!(unclaimed_interrupts(), counted);
        });
    }
    assert_eq!(unclaimed_interrupts(), 64);
}
