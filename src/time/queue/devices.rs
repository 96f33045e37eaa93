//! The clock and the alarm of a queue, and the slack of the alarm.

use core::{ptr, sync::atomic::Ordering, time::Duration};

use super::TimerQueue;
use crate::time::{Alarm, Clock, Instant};

pub(crate) struct Devices {
    pub(crate) clock: &'static dyn Clock,
    pub(crate) alarm: &'static dyn Alarm,
}

/// The devices of a queue without a clock: they panic.
pub(super) static NOT_INSTALLED: Devices = Devices {
    clock: &NotInstalled,
    alarm: &NotInstalled,
};

struct NotInstalled;

impl NotInstalled {
    #[cold]
    fn fail() -> ! {
        panic!("no clock is installed: call `platform::bare::init` or `TimerQueue::install` first")
    }
}

impl Clock for NotInstalled {
    fn now(&self) -> Instant {
        Self::fail()
    }
}

impl Alarm for NotInstalled {
    fn set(&self, _at: Instant) {
        Self::fail()
    }

    fn off(&self) {
        Self::fail()
    }
}

/// The queue has a clock already.
///
/// # Examples
///
/// ```
/// use dormir::{platform::host::VirtualClock, time::TimerQueue};
///
/// static CLOCK: VirtualClock = VirtualClock::new();
/// static TIMERS: TimerQueue = TimerQueue::new();
///
/// TIMERS.install(&CLOCK, &CLOCK)?;
/// let refused = TIMERS.install(&CLOCK, &CLOCK).expect_err("it has a clock");
/// println!("{refused}");
/// # Ok::<(), dormir::time::AlreadyInstalled>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct AlreadyInstalled;

impl core::fmt::Display for AlreadyInstalled {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(
            "this timer queue already has a clock; install one clock, once, before the first timer",
        )
    }
}

impl core::error::Error for AlreadyInstalled {}

impl TimerQueue {
    /// Installs the queue's clock and alarm. A platform's `init` does this for the global queue.
    ///
    /// Call it with interrupts masked: a timer that an interrupt handler uses meanwhile would wait
    /// for this call forever.
    ///
    /// # Errors
    ///
    /// [`AlreadyInstalled`] if it was called before; the first clock stays.
    pub fn install(
        &'static self,
        clock: &'static dyn Clock,
        alarm: &'static dyn Alarm,
    ) -> Result<(), AlreadyInstalled> {
        let mut first = false;
        let devices = self.installed.call_once(|| {
            first = true;
            Devices { clock, alarm }
        });
        self.devices
            .store(ptr::from_ref(devices).cast_mut(), Ordering::Release);
        if first { Ok(()) } else { Err(AlreadyInstalled) }
    }

    /// The clock and the alarm that were installed.
    #[cfg(feature = "watchdog")]
    pub(crate) fn installed(&'static self) -> Option<&'static Devices> {
        self.installed.get()
    }

    /// Uses `devices` in place of those that were installed. They are the same clock, and an alarm
    /// that sets the installed one. The next turn sets the alarm again.
    #[cfg(feature = "watchdog")]
    pub(crate) fn replace(&self, devices: &'static Devices) {
        self.devices
            .store(ptr::from_ref(devices).cast_mut(), Ordering::Release);
        self.on_interrupt();
    }

    /// Allows the alarm to come up to `slack` after a deadline, so that one interrupt serves all
    /// deadlines within that time: fewer exits from the VM, and longer sleep. Zero by default: then
    /// a timer is as exact as the hardware.
    ///
    /// No timer ends early. Whenever a wait of the vCPU ends, for any reason, what is due is
    /// served; a vCPU that never waits serves it up to the slack late.
    ///
    /// It takes effect the next time that the alarm is set. It is at most 2⁶⁴ - 1 nanoseconds.
    ///
    /// # Contexts
    ///
    /// Any.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::time::Duration;
    /// use dormir::{
    ///     executor::{Executor, Shared, Up64}, platform::host::VirtualClock,
    ///     time::{Instant, Timer, TimerQueue},
    /// };
    ///
    /// static CLOCK: VirtualClock = VirtualClock::new();
    /// static TIMERS: TimerQueue = TimerQueue::new();
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    /// # dormir::tasks! { async fn wait(timer: Timer), pool = 2 { timer.await } }
    ///
    /// TIMERS.install(&CLOCK, &CLOCK)?;
    /// TIMERS.set_slack(Duration::from_millis(1));
    /// let mut runner = EXECUTOR.enter()?.with_timers(&TIMERS);
    /// let at = Instant::from_nanos;
    /// runner.spawner().spawn_detached(wait(TIMERS.timer(at(5_000_000))))?;
    /// runner.spawner().spawn_detached(wait(TIMERS.timer(at(5_700_000))))?;
    /// runner.run_until_idle();
    /// assert_eq!(CLOCK.alarm(), Some(at(6_000_000)), "one interrupt for both");
    /// CLOCK.advance_to(at(6_000_000), &TIMERS);
    /// assert_eq!(runner.run_until_idle().tasks_left, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_slack(&self, slack: Duration) {
        let nanos = u64::try_from(slack.as_nanos()).unwrap_or(u64::MAX);
        self.slack.store(nanos, Ordering::Relaxed);
    }

    /// How much later than a deadline the alarm may come: see [`set_slack`](Self::set_slack).
    #[must_use]
    #[inline]
    pub fn slack(&self) -> Duration {
        Duration::from_nanos(self.slack.load(Ordering::Relaxed))
    }

    /// Whether a clock is installed.
    #[must_use]
    pub fn has_clock(&self) -> bool {
        // Not `installed`: `install` stores that first, and `now` reads `devices`.
        !ptr::eq(self.devices.load(Ordering::Acquire), &NOT_INSTALLED)
    }

    /// The time now.
    ///
    /// # Panics
    ///
    /// If no clock is installed.
    #[must_use]
    #[inline]
    pub fn now(&self) -> Instant {
        self.devices().clock.now()
    }

    #[inline]
    pub(super) fn devices(&self) -> &Devices {
        let devices = self.devices.load(Ordering::Acquire);
        // SAFETY: it points to a static (`NOT_INSTALLED`, or what `replace` was given), or into
        // `installed` of this queue. `install` borrowed that for `'static`, so it stays where it
        // is, and it is written once, before the pointer is stored.
        unsafe { &*devices }
    }
}
