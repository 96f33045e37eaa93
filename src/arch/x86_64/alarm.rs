//! The alarms: which timer interrupts, and how it is told when.

use x86_64::instructions::interrupts::without_interrupts;

use super::{apic, apic::Apic, pit, tsc::TscClock};
use crate::time::{Alarm, Instant, Scale};

/// Channel 0 of the PIT, through the PIC. A deadline more than 54.9 ms ahead is reached in steps.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::{
///     arch::x86_64::{alarm::PitAlarm, pic, pit, tsc, tsc::TscClock},
///     time::TimerQueue,
/// };
/// use spin::Once;
///
/// static CLOCK: Once<TscClock> = Once::new();
/// static ALARM: Once<PitAlarm> = Once::new();
///
/// // SAFETY: ring 0, one vCPU, interrupts masked, memory mapped one to one.
/// let (hz, _) = unsafe { tsc::find_frequency() }.expect("the TSC's frequency is known");
/// let clock = CLOCK.call_once(|| TscClock::start(hz).for_queue(TimerQueue::global()));
/// pic::init();
/// pit::init();
/// let alarm = ALARM.call_once(|| PitAlarm::new(clock));
/// TimerQueue::global().install(clock, alarm)?;
/// // Once there is a handler on `vector::PIT`:
/// pic::unmask(0);
/// # Ok::<(), dormir::time::AlreadyInstalled>(())
/// ```
#[derive(Debug)]
pub struct PitAlarm {
    clock: &'static TscClock,
    scale: Scale,
}

impl PitAlarm {
    /// The PIT's channel 0 must be in one-shot mode ([`pit::init`]).
    ///
    /// # Examples
    ///
    /// ```
    /// # dormir_guest::entry!(main);
    /// use core::time::Duration;
    /// use dormir::{
    ///     arch::x86_64::{alarm::PitAlarm, pit, tsc::TscClock},
    ///     time::{Alarm, Clock},
    /// };
    /// use spin::Once;
    ///
    /// # let tsc_hz = dormir::platform::bare::machine().expect("the machine is set up").tsc_hz;
    /// static CLOCK: Once<TscClock> = Once::new();
    /// let clock = CLOCK.call_once(|| TscClock::start(tsc_hz));
    /// pit::init();
    /// let alarm = PitAlarm::new(clock);
    /// // Farther ahead than the PIT counts: it interrupts after 54.9 ms, and is set again then.
    /// alarm.set(clock.now().saturating_add(Duration::from_secs(1)));
    /// alarm.off();
    /// ```
    #[must_use]
    pub fn new(clock: &'static TscClock) -> Self {
        Self {
            clock,
            scale: Scale::new(1_000_000_000, pit::HZ),
        }
    }
}

impl Alarm for PitAlarm {
    fn set(&self, at: Instant) {
        // It counts from the write on: an interrupt that came between would make it late.
        without_interrupts(|| {
            if let Some(left) = self.clock.left(at) {
                let ticks = self.scale.up(left.nanos);
                pit::set(u16::try_from(ticks).unwrap_or(pit::LONGEST));
            }
        });
    }

    fn off(&self) {
        pit::off();
    }
}

/// The local APIC's timer in one-shot mode. A deadline beyond its 32-bit count is reached in steps.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::{
///     arch::x86_64::{alarm::OneShotAlarm, apic::Apic, tsc, tsc::TscClock},
///     time::TimerQueue,
/// };
/// use spin::Once;
///
/// static CLOCK: Once<TscClock> = Once::new();
/// static ALARM: Once<OneShotAlarm> = Once::new();
///
/// // SAFETY: ring 0, one vCPU, interrupts masked, memory mapped one to one.
/// let (tsc_hz, _) = unsafe { tsc::find_frequency() }.expect("the TSC's frequency is known");
/// let clock = CLOCK.call_once(|| TscClock::start(tsc_hz).for_queue(TimerQueue::global()));
/// // SAFETY: there is a local APIC, not in x2APIC mode, and its page is mapped, uncached.
/// let apic = unsafe { Apic::enable_xapic() };
/// let hz = apic.measure_hz(tsc::read, tsc_hz).expect("the timer counts");
/// let alarm = ALARM.call_once(|| OneShotAlarm::new(apic, clock, hz));
/// TimerQueue::global().install(clock, alarm)?;
/// # Ok::<(), dormir::time::AlreadyInstalled>(())
/// ```
#[derive(Debug)]
pub struct OneShotAlarm {
    apic: Apic,
    clock: &'static TscClock,
    scale: Scale,
}

impl OneShotAlarm {
    /// Puts the timer, which counts `hz` times a second, into one-shot mode.
    ///
    /// # Panics
    ///
    /// If `hz` is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// # dormir_guest::entry!(main);
    /// use core::time::Duration;
    /// use dormir::{
    ///     arch::x86_64::{alarm::OneShotAlarm, tsc, tsc::TscClock},
    ///     time::{Alarm, Clock},
    /// };
    /// use spin::Once;
    ///
    /// # let machine = dormir::platform::bare::machine().expect("the machine is set up");
    /// # let (apic, tsc_hz) = (machine.apic.expect("there is a local APIC"), machine.tsc_hz);
    /// static CLOCK: Once<TscClock> = Once::new();
    /// let clock = CLOCK.call_once(|| TscClock::start(tsc_hz));
    /// let hz = apic.measure_hz(tsc::read, tsc_hz).expect("the timer counts");
    /// let alarm = OneShotAlarm::new(apic, clock, hz);
    /// alarm.set(clock.now().saturating_add(Duration::from_millis(100)));
    /// # while dormir::platform::bare::timer_interrupts() == 0 {
    /// #     core::hint::spin_loop();
    /// # }
    /// ```
    #[must_use]
    pub fn new(apic: Apic, clock: &'static TscClock, hz: u64) -> Self {
        apic.one_shot_mode();
        Self {
            apic,
            clock,
            scale: Scale::new(1_000_000_000, hz),
        }
    }
}

impl Alarm for OneShotAlarm {
    fn set(&self, at: Instant) {
        // As for the PIT.
        without_interrupts(|| {
            if let Some(left) = self.clock.left(at) {
                let ticks = self.scale.up(left.nanos);
                self.apic
                    .start_count(u32::try_from(ticks).unwrap_or(u32::MAX));
            }
        });
    }

    fn off(&self) {
        self.apic.start_count(0);
    }
}

/// The local APIC's timer in TSC-deadline mode: one MSR write, 64 bits wide.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::{
///     arch::x86_64::{alarm::TscDeadlineAlarm, apic::Apic, cpuid, tsc, tsc::TscClock},
///     time::TimerQueue,
/// };
/// use spin::Once;
///
/// static CLOCK: Once<TscClock> = Once::new();
/// static ALARM: Once<TscDeadlineAlarm> = Once::new();
///
/// # if !cpuid::has_tsc_deadline() { return; }
/// assert!(cpuid::has_tsc_deadline());
/// // SAFETY: ring 0, one vCPU, interrupts masked, memory mapped one to one.
/// let (hz, _) = unsafe { tsc::find_frequency() }.expect("the TSC's frequency is known");
/// let clock = CLOCK.call_once(|| TscClock::start(hz).for_queue(TimerQueue::global()));
/// // SAFETY: there is a local APIC, not in x2APIC mode, and its page is mapped, uncached.
/// let apic = unsafe { Apic::enable_xapic() };
/// // SAFETY: the processor says that it has a TSC-deadline timer.
/// let alarm = ALARM.call_once(|| unsafe { TscDeadlineAlarm::new(apic, clock) });
/// TimerQueue::global().install(clock, alarm).expect("it has no clock yet");
/// ```
#[derive(Debug)]
pub struct TscDeadlineAlarm {
    clock: &'static TscClock,
}

impl TscDeadlineAlarm {
    /// Puts the timer into TSC-deadline mode.
    ///
    /// The deadline is a value of the TSC. Where the TSC steps back afterwards, see [`TscClock`].
    ///
    /// # Safety
    ///
    /// The processor has a TSC-deadline timer.
    ///
    /// # Examples
    ///
    /// ```
    /// # dormir_guest::entry!(main);
    /// use core::time::Duration;
    /// use dormir::{
    ///     arch::x86_64::{alarm::TscDeadlineAlarm, cpuid, tsc::TscClock},
    ///     time::{Alarm, Clock},
    /// };
    /// use spin::Once;
    ///
    /// # let machine = dormir::platform::bare::machine().expect("the machine is set up");
    /// # let (apic, tsc_hz) = (machine.apic.expect("there is a local APIC"), machine.tsc_hz);
    /// if cpuid::has_tsc_deadline() {
    ///     static CLOCK: Once<TscClock> = Once::new();
    ///     let clock = CLOCK.call_once(|| TscClock::start(tsc_hz));
    ///     // SAFETY: the processor says that it has a TSC-deadline timer.
    ///     let alarm = unsafe { TscDeadlineAlarm::new(apic, clock) };
    ///     let deadline = clock.now().saturating_add(Duration::from_millis(100));
    ///     alarm.set(deadline);
    /// #   while dormir::platform::bare::timer_interrupts() == 0 {
    /// #       core::hint::spin_loop();
    /// #   }
    /// #   assert!(clock.now() >= deadline);
    /// }
    /// ```
    #[must_use]
    pub unsafe fn new(apic: Apic, clock: &'static TscClock) -> Self {
        apic.tsc_deadline_mode();
        Self { clock }
    }
}

impl Alarm for TscDeadlineAlarm {
    fn set(&self, at: Instant) {
        if let Some(left) = self.clock.left(at) {
            // SAFETY: `new`'s caller said that the MSR exists.
            unsafe { apic::set_tsc_deadline(left.tsc) };
        }
    }

    fn off(&self) {
        // SAFETY: as in `set`.
        unsafe { apic::set_tsc_deadline(0) };
    }
}
