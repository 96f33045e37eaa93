//! Interrupts: wakes from a handler, the masked flag, spurious ones.

use core::{
    arch::asm,
    future::poll_fn,
    sync::atomic::{AtomicU32, Ordering},
    task::{Poll, Waker},
    time::Duration,
};

use critical_section::Mutex;
use dormir::{
    arch::x86_64::{halt, interrupt::InterruptFrame, vector},
    block_on,
    idle::Halt,
    interrupt_entry,
    platform::bare,
    time::Timer,
};
use x86_64::instructions::interrupts;

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("interrupt-handler-wakes", handler_wakes),
    ("interrupt-handler-sets-timer", handler_sets_timer),
    ("interrupt-flag-is-kept", flag_is_kept),
    ("interrupt-spurious", spurious),
    ("critical-section-nests", critical_section_nests),
];

static WAKER: Mutex<core::cell::RefCell<Option<Waker>>> =
    Mutex::new(core::cell::RefCell::new(None));
static INTERRUPTS: AtomicU32 = AtomicU32::new(0);
static RETURNS_TO_HALT: AtomicU32 = AtomicU32::new(0);

extern "sysv64" fn on_device(frame: &mut InterruptFrame) {
    INTERRUPTS.fetch_add(1, Ordering::Relaxed);
    if frame.rip == halt::halt_instruction() + 1 {
        RETURNS_TO_HALT.fetch_add(1, Ordering::Relaxed);
    }
    bare::end_of_interrupt();
    if let Some(waker) = critical_section::with(|cs| WAKER.borrow_ref_mut(cs).take()) {
        waker.wake();
    }
}
interrupt_entry!(device_entry => on_device);

fn interrupt_self() {
    let apic = bare::machine().and_then(|machine| machine.apic);
    apic.expect("every machine here has a local APIC")
        .interrupt_self(vector::FREE);
}

/// A handler wakes the task that waits for it: an interrupt that is pending when the vCPU halts ends
/// the `hlt`, a hundred times of a hundred.
fn handler_wakes() {
    const TIMES: u32 = 100;
    // SAFETY: made by `interrupt_entry!`, and acknowledges the local APIC's interrupt.
    unsafe { bare::set_interrupt_handler(vector::FREE, device_entry) };
    interrupts::disable();
    for time in 1..=TIMES {
        block_on(
            poll_fn(|cx| {
                if INTERRUPTS.load(Ordering::Relaxed) == time {
                    return Poll::Ready(());
                }
                critical_section::with(|cs| WAKER.replace(cs, Some(cx.waker().clone())));
                interrupt_self();
                Poll::Pending
            }),
            Halt,
        );
    }
    interrupts::enable();
    assert_eq!(INTERRUPTS.load(Ordering::Relaxed), TIMES);
    assert_eq!(
        RETURNS_TO_HALT.load(Ordering::Relaxed),
        TIMES,
        "each ended a hlt"
    );
}

/// A handler that resets a timer to an earlier deadline while the executor is about to halt has the
/// alarm set anew.
fn handler_sets_timer() {
    use core::{future::Future, pin::pin};
    use dormir::time::Instant;

    extern "sysv64" fn on_device(_frame: &mut InterruptFrame) {
        bare::end_of_interrupt();
        INTERRUPTS.fetch_add(1, Ordering::Relaxed);
        // A timer made and polled here, for the task that waits: its waker is what counts.
        let timer = alloc::boxed::Box::new(Timer::after(Duration::from_millis(5)));
        let timer = alloc::boxed::Box::leak(timer);
        // SAFETY: leaked, so it never moves.
        let timer = unsafe { core::pin::Pin::new_unchecked(timer) };
        if let Some(waker) = critical_section::with(|cs| WAKER.borrow_ref_mut(cs).take()) {
            assert!(
                timer
                    .poll(&mut core::task::Context::from_waker(&waker))
                    .is_pending()
            );
        }
    }
    interrupt_entry!(entry => on_device);
    // SAFETY: made by `interrupt_entry!`, and acknowledges the local APIC's interrupt.
    unsafe { bare::set_interrupt_handler(vector::FREE, entry) };

    let start = Instant::now();
    let mut far = pin!(Timer::after(Duration::from_secs(3600)));
    let mut polls = 0;
    interrupts::disable();
    block_on(
        poll_fn(|cx| {
            polls += 1;
            if polls > 1 {
                return Poll::Ready(());
            }
            critical_section::with(|cs| WAKER.replace(cs, Some(cx.waker().clone())));
            interrupt_self();
            far.as_mut().poll(cx)
        }),
        Halt,
    );
    interrupts::enable();
    assert_eq!(INTERRUPTS.load(Ordering::Relaxed), 1);
    let slept = Instant::now().saturating_since(start);
    assert!(slept >= Duration::from_millis(5), "woken after {slept:?}");
}

/// `block_on` leaves the interrupt flag as it found it.
fn flag_is_kept() {
    let nap = || block_on(async { Timer::after(Duration::from_millis(1)).await }, Halt);
    nap();
    assert!(interrupts::are_enabled());
    interrupts::disable();
    nap();
    assert!(!interrupts::are_enabled());
    interrupts::enable();
}

/// Spurious interrupts of the local APIC and of both PICs are taken and leave the timer working.
fn spurious() {
    for vector in [
        vector::SPURIOUS,
        vector::PIC_FIRST + 7,
        vector::PIC_SECOND + 7,
    ] {
        pretend_interrupt(vector);
    }
    for _ in 0..3 {
        block_on(async { Timer::after(Duration::from_millis(1)).await }, Halt);
    }
}

/// Enters the handler of `vector` as the processor does when an interrupt comes that is in service
/// nowhere. (`int` would do it, but not every KVM can emulate it.)
fn pretend_interrupt(vector: u8) {
    let table = x86_64::instructions::tables::sidt().base.as_u64();
    let gate = (table + u64::from(vector) * 16) as *const [u16; 8];
    // SAFETY: the table is loaded and has 256 gates of 16 bytes.
    let gate = unsafe { gate.read() };
    let handler = u64::from(gate[0])
        | u64::from(gate[3]) << 16
        | u64::from(gate[4]) << 32
        | u64::from(gate[5]) << 48;
    interrupts::disable();
    // SAFETY: builds the frame that the processor would (SDM vol. 3, figure 7-4) and enters a handler
    // that returns by it and saves all registers; the stack is given back by the frame's RSP.
    unsafe {
        asm!(
            "mov {old}, rsp",
            "and rsp, -16",
            "mov {new:e}, ss",
            "push {new}",
            "push {old}",
            "pushfq",
            "mov {new:e}, cs",
            "push {new}",
            "lea {new}, [rip + 2f]",
            "push {new}",
            "jmp {handler}",
            "2:",
            old = out(reg) _,
            new = out(reg) _,
            handler = in(reg) handler,
        );
    }
    interrupts::enable();
}

fn critical_section_nests() {
    critical_section::with(|_| {
        assert!(!interrupts::are_enabled());
        critical_section::with(|_| assert!(!interrupts::are_enabled()));
        assert!(
            !interrupts::are_enabled(),
            "an inner section ended the outer one"
        );
    });
    assert!(interrupts::are_enabled());
    interrupts::disable();
    critical_section::with(|_| {});
    assert!(
        !interrupts::are_enabled(),
        "a section unmasked what it had not masked"
    );
    interrupts::enable();
}
