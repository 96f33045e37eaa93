//! The [watchdog](crate::watchdog) of a machine that [`init`](fn@super::init) has set up.

use core::{
    mem, ptr,
    sync::atomic::{AtomicPtr, Ordering},
    time::Duration,
};

use super::{TimerSource, end_of_interrupt, machine, tick};
use crate::{
    arch::x86_64::{idt, interrupt::InterruptFrame, pic, vector},
    interrupt_entry,
    time::TimerQueue,
    watchdog::{self, Stall},
};

/// What [`start_watchdog`] calls.
type OnStall = fn(&Stall, &InterruptFrame);

/// An [`OnStall`], or null.
static ON_STALL: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Starts the [watchdog](crate::watchdog) of the [global queue](TimerQueue::global), or changes its
/// limit and its handler.
///
/// If code does not yield to a run loop for longer than `limit`, the timer's interrupt calls
/// `on_stall` with what it knows and what it interrupted. The limit is at least a millisecond; with
/// [`Duration::MAX`] nothing is reported.
///
/// `dormir_guest::start_watchdog` brings a handler that reports task, file and line.
///
/// # Contexts
///
/// Any but NMI. `on_stall` runs in the timer's interrupt handler, with interrupts masked. When it
/// returns, the interrupted code continues.
///
/// # Panics
///
/// If [`init`](fn@super::init) was not called before, or the limit is shorter than a millisecond.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use core::{sync::atomic::{AtomicU32, Ordering}, time::Duration};
/// use dormir::{
///     arch::x86_64::interrupt::InterruptFrame, block_on, idle::Halt, platform::bare,
///     time::Instant, watchdog::Stall,
/// };
///
/// static STALLS: AtomicU32 = AtomicU32::new(0);
///
/// fn on_stall(stall: &Stall, frame: &InterruptFrame) {
///     STALLS.fetch_add(1, Ordering::Relaxed);
///     dormir_guest::println!("{stall}, at {:#x}", frame.rip);
/// }
///
/// bare::start_watchdog(Duration::from_millis(100), on_stall);
/// block_on(
///     async {
///         // A poll of 300 ms.
///         let start = Instant::now();
///         while start.elapsed() < Duration::from_millis(300) {}
///     },
///     Halt,
/// );
/// assert_eq!(STALLS.load(Ordering::Relaxed), 1);
/// ```
pub fn start_watchdog(limit: Duration, on_stall: OnStall) {
    let machine = machine().expect("the watchdog needs a timer: call `platform::bare::init` first");
    ON_STALL.store(on_stall as *mut (), Ordering::Release);
    let vector = match machine.timer {
        TimerSource::Pit => vector::PIT,
        _ => vector::APIC_TIMER,
    };
    // With interrupts masked: the new entry needs the watchdog, and the watchdog the new entry.
    critical_section::with(|_| {
        watchdog::start(TimerQueue::global(), limit);
        // SAFETY: made by `interrupt_entry!`, and acknowledges the timer's interrupt.
        unsafe { idt::set_handler(vector, watched_entry) };
    });
}

/// Does what the entries of [`tick`] do, and asks the watchdog.
extern "sysv64" fn on_timer(frame: &InterruptFrame) {
    match machine().map(|machine| machine.timer) {
        Some(TimerSource::Pit) => pic::end_of_interrupt(0),
        _ => end_of_interrupt(),
    }
    tick::count();
    let Some(stall) = watchdog::on_interrupt() else {
        return;
    };
    let on_stall = ON_STALL.load(Ordering::Acquire);
    // SAFETY: `start_watchdog` stored a function of this type before it put the entry into the
    // table.
    let on_stall = unsafe { mem::transmute::<*mut (), OnStall>(on_stall) };
    on_stall(&stall, frame);
}
interrupt_entry!(watched_entry => on_timer);
