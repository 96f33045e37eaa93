//! The clock and the alarm of a queue, and how exact the alarm has to be.

use core::{ptr, sync::atomic::Ordering, time::Duration};

use super::TimerQueue;
use crate::time::{Alarm, Clock, Instant};

pub(super) struct Devices {
    pub(super) clock: &'static dyn Clock,
    pub(super) alarm: &'static dyn Alarm,
}

/// What a queue goes by that has no clock.
pub(super) static NONE: Devices = Devices {
    clock: &NotInstalled,
    alarm: &NotInstalled,
};

struct NotInstalled;

impl NotInstalled {
    #[cold]
    fn refuse() -> ! {
        panic!(
            "no clock is installed: call dormir::platform::bare::init (or TimerQueue::install) first"
        )
    }
}

impl Clock for NotInstalled {
    fn now(&self) -> Instant {
        Self::refuse()
    }
}

impl Alarm for NotInstalled {
    fn set(&self, _at: Instant) {
        Self::refuse()
    }

    fn off(&self) {
        Self::refuse()
    }
}

/// A clock was installed before.
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
#[non_exhaustive]
pub struct AlreadyInstalled;

impl core::fmt::Display for AlreadyInstalled {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(
            "this timer queue has a clock already; install one once, before the first timer",
        )
    }
}

impl core::error::Error for AlreadyInstalled {}

impl TimerQueue {
    /// Gives the queue its clock and its alarm. A platform's `init` does this for the global queue.
    ///
    /// Call it with interrupts masked: a timer that is used from an interrupt handler meanwhile would
    /// wait for this call forever.
    ///
    /// # Errors
    ///
    /// [`AlreadyInstalled`] if it was called before; the first clock stays.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::{platform::host::VirtualClock, time::TimerQueue};
    ///
    /// static CLOCK: VirtualClock = VirtualClock::new();
    ///
    /// // A guest gives its own clock and alarm, or those of `arch::x86_64`.
    /// TimerQueue::global().install(&CLOCK, &CLOCK)?;
    /// # Ok::<(), dormir::time::AlreadyInstalled>(())
    /// ```
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

    /// Lets the alarm come up to `slack` after a deadline, so that all deadlines within that time are served
    /// by one interrupt: fewer exits from the VM, and longer sleep. None by default, and for none a timer is
    /// as exact as the hardware.
    ///
    /// No timer ends early. Whenever a wait of the vCPU ends, for whatever reason, what is due is served; one
    /// that never rests serves it up to the slack late.
    ///
    /// It counts from the next time that the alarm is set. A slack beyond 2⁶⁴ - 1 nanoseconds is that long.
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
    /// # dormir::task! { async fn wait(timer: Timer), pool = 2 { timer.await } }
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

    /// How much later than a deadline the alarm may come.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::time::Duration;
    /// use dormir::time::TimerQueue;
    ///
    /// assert_eq!(TimerQueue::new().slack(), Duration::ZERO);
    /// ```
    #[must_use]
    #[inline]
    pub fn slack(&self) -> Duration {
        Duration::from_nanos(self.slack.load(Ordering::Relaxed))
    }

    /// Whether it has a clock.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::time::{Instant, TimerQueue};
    ///
    /// /// For a log that begins before there is a clock.
    /// fn time_stamp() -> Option<Instant> {
    ///     let timers = TimerQueue::global();
    ///     timers.has_clock().then(|| timers.now())
    /// }
    /// # assert_eq!(time_stamp(), None);
    /// # dormir::platform::host::init();
    /// # assert!(time_stamp().is_some());
    /// ```
    #[must_use]
    pub fn has_clock(&self) -> bool {
        // Not by `installed`: whoever installs one writes that first, and until then nobody finds the clock.
        !ptr::eq(self.devices.load(Ordering::Acquire), &NONE)
    }

    /// The time now.
    ///
    /// # Panics
    ///
    /// If no clock is installed.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::{platform::host::VirtualClock, time::{Instant, TimerQueue}};
    ///
    /// static CLOCK: VirtualClock = VirtualClock::new();
    /// static TIMERS: TimerQueue = TimerQueue::new();
    ///
    /// TIMERS.install(&CLOCK, &CLOCK)?;
    /// CLOCK.pass(7);
    /// assert_eq!(TIMERS.now(), Instant::from_nanos(7));
    /// # Ok::<(), dormir::time::AlreadyInstalled>(())
    /// ```
    #[must_use]
    #[inline]
    pub fn now(&self) -> Instant {
        self.devices().clock.now()
    }

    #[inline]
    pub(super) fn devices(&self) -> &Devices {
        let devices = self.devices.load(Ordering::Acquire);
        // SAFETY: it points to the static; or into `installed` of this queue, which `install` has borrowed for
        // good, so that it stays where it is, and which is written once, before.
        unsafe { &*devices }
    }
}
