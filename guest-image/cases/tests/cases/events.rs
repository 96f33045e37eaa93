//! Tests of events: an interrupt handler signals, a task awaits.

use core::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::atomic::{AtomicU32, Ordering},
    task::Poll,
    time::Duration,
};

use dormir::{
    Event,
    arch::x86_64::{interrupt::InterruptFrame, vector},
    block_on,
    idle::Halt,
    interrupt_entry,
    platform::bare,
    time::{Timer, TimerQueue},
};
use x86_64::instructions::interrupts;

use crate::device::TestDevice;

/// Signalled by each interrupt of the [`device`].
pub(crate) static EVENT: Event = Event::new();

/// Makes a device that signals [`EVENT`].
pub(crate) fn device() -> TestDevice {
    TestDevice::new(|| EVENT.signal())
}

/// Waits for the next signals. These tests have no other waiter.
pub(crate) async fn signals() -> u32 {
    EVENT.wait().expect("there is one task").await
}

/// A task that sleeps is woken by each of a hundred signals, one at a time.
#[dormir_guest::test]
fn wakes_each_time() {
    const TIMES: u32 = 100;
    let device = device();
    // Masked, so that each interrupt comes while the vCPU halts.
    interrupts::disable();
    block_on(
        async {
            for time in 1..=TIMES {
                device.interrupt();
                assert_eq!(signals().await, 1, "signal {time}");
            }
        },
        Halt,
    );
    interrupts::enable();
    assert_eq!(device.interrupts(), TIMES);
    assert_eq!(device.halts_ended(), TIMES, "each ended a hlt");
    assert_eq!(EVENT.take(), 0);
}

/// Signals that come while the task is busy are returned by its next await, none lost, none counted
/// twice.
#[dormir_guest::test]
fn counts_between_awaits() {
    const TIMES: u32 = 100;
    let device = device();
    block_on(
        async {
            for time in 0..TIMES {
                let several = time % 4 + 1;
                (0..several).for_each(|_| device.interrupt_now());
                assert_eq!(signals().await, several);
            }
        },
        Halt,
    );
    assert_eq!(EVENT.take(), 0);
}

/// Signals that come during a claim, a poll or a drop are counted too: here those of the timer's
/// interrupts.
///
/// Where an instruction takes a nanosecond, they come at each instruction of the loop.
#[dormir_guest::test]
fn is_polled_amid_signals() {
    const STEPS: u32 = 1000;
    /// A prime number larger than the loop's number of instructions, so that each step interrupts
    /// another instruction.
    const STEP: Duration = Duration::from_nanos(997);

    static INTERRUPTS: AtomicU32 = AtomicU32::new(0);

    extern "sysv64" fn on_timer(_frame: &InterruptFrame) {
        INTERRUPTS.fetch_add(1, Ordering::Relaxed);
        bare::end_of_interrupt();
        TimerQueue::global().on_interrupt();
        EVENT.signal();
    }
    interrupt_entry!(timer_entry => on_timer);
    // SAFETY: made by `interrupt_entry!`, and acknowledges the local APIC's interrupt.
    unsafe { bare::set_interrupt_handler(vector::APIC_TIMER, timer_entry) };

    let mut taken = 0;
    for step in 1..=STEPS {
        let mut timer = pin!(Timer::after(STEP * step));
        let claim_poll_and_drop = poll_fn(|cx| {
            let mut wait = EVENT.wait().expect("there is one task");
            if let Poll::Ready(signals) = Pin::new(&mut wait).poll(cx) {
                taken += signals;
            }
            cx.waker().wake_by_ref();
            timer.as_mut().poll(cx)
        });
        block_on(claim_poll_and_drop, Halt);
    }
    interrupts::disable();
    let signalled = INTERRUPTS.load(Ordering::Relaxed);
    assert_ne!(signalled, 0, "no timer interrupt came in {STEPS} naps");
    assert_eq!(taken + EVENT.take(), signalled);
    interrupts::enable();
}
