//! The machine that [`init`](fn@super::init) has set up.

use spin::Once;

use super::{ClockSource, FrequencySource, TimerSource};
use crate::arch::x86_64::{
    alarm::{OneShotAlarm, PitAlarm, TscDeadlineAlarm},
    apic::Apic,
    tsc::TscClock,
};

/// What [`init`](fn@super::init) has chosen and found.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::platform::bare;
/// use dormir_guest::println;
///
/// let machine = bare::machine().expect("the machine is set up");
/// println!("timer: {}, {} Hz", machine.timer, machine.timer_hz);
/// println!("clock: {}", machine.clock);
/// println!("TSC: {} Hz, by {}", machine.tsc_hz, machine.tsc_source);
/// println!("x2APIC: {}", machine.apic.is_some_and(|apic| apic.is_x2apic()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Machine {
    /// The timer that interrupts.
    pub timer: TimerSource,
    /// The source of the clock's time.
    pub clock: ClockSource,
    /// The TSC's frequency in Hz during [`init`](fn@super::init). (Only pvclock reports later
    /// changes.)
    pub tsc_hz: u64,
    /// The source of that frequency.
    pub tsc_source: FrequencySource,
    /// The frequency of the timer's counter in Hz.
    pub timer_hz: u64,
    /// The local APIC, enabled; `None` if there is none.
    pub apic: Option<Apic>,
}

/// The alarm of the timer that was chosen.
pub(super) enum ChosenAlarm {
    Pit(PitAlarm),
    OneShot(OneShotAlarm),
    TscDeadline(TscDeadlineAlarm),
}

/// The machine, and its alarm. In one static, since each has the code of a [`Once`] of its own.
pub(super) static MACHINE: Once<(Machine, ChosenAlarm)> = Once::new();
pub(super) static CLOCK: Once<TscClock> = Once::new();

/// What [`init`](fn@super::init) has chosen and found; `None` before it was called.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::platform::bare::{self, Config};
///
/// assert!(bare::machine().is_none());
/// // SAFETY: ring 0, one vCPU, interrupts masked, tables and pages as they must be; called once.
/// let timer = unsafe { bare::init(Config::new()) }?.timer;
/// assert_eq!(bare::machine().map(|machine| machine.timer), Some(timer));
/// # Ok::<(), bare::InitError>(())
/// ```
#[must_use]
pub fn machine() -> Option<&'static Machine> {
    MACHINE.get().map(|(machine, _)| machine)
}

/// The clock that [`init`](fn@super::init) has installed in the [global
/// queue](crate::time::TimerQueue::global); `None` before it was called. It converts values of the
/// TSC to the instants that timers are set to.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use core::time::Duration;
/// use dormir::{block_on, idle::Halt, platform::bare, time::{Instant, Timer}};
///
/// let clock = bare::clock().expect("the machine is set up");
/// let deadline = Instant::now().saturating_add(Duration::from_millis(1));
/// block_on(async { Timer::at(deadline).await }, Halt);
/// let interrupted = clock.at(bare::last_timer_interrupt());
/// dormir_guest::println!("the interrupt came at {interrupted:?}, due was {deadline:?}");
/// ```
#[must_use]
pub fn clock() -> Option<&'static TscClock> {
    CLOCK.get()
}

/// Ends an interrupt that came through the local APIC. (Those of the PIC's lines are ended by
/// [`pic::end_of_interrupt`](crate::arch::x86_64::pic::end_of_interrupt).) It has no effect without
/// a local APIC.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use core::task::Waker;
/// use dormir::{arch::x86_64::interrupt::InterruptFrame, interrupt_entry, platform::bare};
/// use spin::Once;
///
/// static WAITING: Once<Waker> = Once::new();
///
/// extern "sysv64" fn on_device(_frame: &InterruptFrame) {
///     if let Some(waker) = WAITING.get() {
///         waker.wake_by_ref();
///     }
///     bare::end_of_interrupt();
/// }
/// interrupt_entry!(device_entry => on_device);
/// # use dormir::arch::x86_64::vector;
/// # // SAFETY: made by `interrupt_entry!`, and ends the local APIC's interrupt.
/// # unsafe { bare::set_interrupt_handler(vector::FREE, device_entry) };
/// # let apic = bare::machine().and_then(|machine| machine.apic).expect("there is a local APIC");
/// # let mut polls = 0;
/// # let three_polls = core::future::poll_fn(|cx| {
/// #     WAITING.call_once(|| cx.waker().clone());
/// #     polls += 1;
/// #     if polls == 3 { return core::task::Poll::Ready(()); }
/// #     apic.interrupt_self(vector::FREE);
/// #     core::task::Poll::Pending
/// # });
/// # dormir::block_on(three_polls, dormir::idle::Halt);
/// ```
#[inline]
pub fn end_of_interrupt() {
    if let Some(apic) = machine().and_then(|machine| machine.apic) {
        apic.end_of_interrupt();
    }
}
