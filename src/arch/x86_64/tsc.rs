//! The clock: the time-stamp counter, in nanoseconds, which never goes back.

use core::arch::x86_64::_rdtsc;

use super::{pvclock, pvclock::Pvclock};
use crate::time::{
    Clock, Instant, Scale, TimerQueue,
    monotonic::{Monotonic, Readers},
};
pub use frequency::{FrequencySource, find_frequency};

mod frequency;

/// Nanoseconds in a second.
const NANOS_HZ: u64 = 1_000_000_000;

/// Reads the time-stamp counter.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::arch::x86_64::tsc;
///
/// let start = tsc::read();
/// # let work = || core::hint::black_box(1);
/// work();
/// dormir_guest::println!("the work took {} ticks", tsc::read() - start);
/// ```
#[must_use]
#[inline]
pub fn read() -> u64 {
    // SAFETY: every x86-64 processor has RDTSC, and ring 0 may always execute it.
    unsafe { _rdtsc() }
}

/// What a [`TscClock`] goes by.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::{arch::x86_64::tsc::ClockSource, platform::bare};
///
/// let machine = bare::machine().expect("the machine is set up");
/// dormir_guest::println!("clock: {}", machine.clock);
/// if machine.clock == ClockSource::Pvclock {
///     dormir_guest::println!("it stays right when the guest is moved to another host");
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClockSource {
    /// The TSC, of one frequency for good.
    Tsc,
    /// KVM's paravirtual clock: the TSC, with its frequency and offset as KVM gives them at present.
    Pvclock,
}

impl core::fmt::Display for ClockSource {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Tsc => "TSC",
            Self::Pvclock => "pvclock",
        })
    }
}

/// The TSC as a [`Clock`] that starts at zero.
///
/// It never goes back, though the TSC may. Where that has gone back by less than a second, the clock waits
/// for it. Where it has gone back farther, as when a snapshot is restored, the clock goes on from the
/// last time that it showed. A TSC that has jumped ahead takes the clock with it; a [clock by
/// pvclock](Self::start_pvclock) stays right.
///
/// [`now`](Clock::now) may be called in any context, NMI included. It uses no locked instruction, except
/// by a pvclock that differs from vCPU to vCPU. On several vCPUs whose TSCs differ, a clock by the TSC alone
/// can show one of them an earlier time than another, by as much as they differ.
///
/// # Alarms after a jump
///
/// An alarm that was set before the TSC was set back or ahead may come too late: it is a value of the TSC,
/// or a time in which the clock has jumped past deadlines. The clock sees a step back, or a jump of more
/// than a minute, when it is next read, by whomever. Then the [queue](Self::for_queue) looks at its next
/// turn what is due, and sets the alarm anew. No deadline is slept past from then on.
///
/// A vCPU that sleeps until that alarm reads no clock. KVM lets the alarm come when it was due before the
/// jump (its timer is one of the host, set when the guest writes the deadline). Where a deadline is to count
/// from the moment of a jump, have the guest interrupted then, by a handler that calls
/// [`TimerQueue::on_interrupt`].
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::{arch::x86_64::tsc::TscClock, platform::bare, time::Clock};
///
/// let machine = bare::machine().expect("the machine is set up");
/// let clock = TscClock::start(machine.tsc_hz);
/// let (earlier, later) = (clock.now(), clock.now());
/// assert!(earlier <= later);
/// ```
pub struct TscClock {
    time: Monotonic,
    counter: Counter,
    queue: Option<&'static TimerQueue>,
}

/// What `time` counts.
enum Counter {
    /// Ticks of the TSC.
    Tsc { to_nanos: Scale, to_ticks: Scale },
    /// Nanoseconds.
    Pvclock(Pvclock),
}

/// How long it is until an instant.
pub(super) struct Left {
    pub(super) nanos: u64,
    /// The value of the TSC at which the clock will show the instant.
    pub(super) tsc: u64,
}

impl TscClock {
    /// A clock that starts now, for a TSC of this frequency.
    ///
    /// # Panics
    ///
    /// If `hz` is zero, or 2³² times 10⁹ or more. (The clock is exact from 1 MHz to 100 GHz.)
    ///
    /// # Examples
    ///
    /// ```
    /// # dormir_guest::entry!(main);
    /// use dormir::{arch::x86_64::{tsc, tsc::TscClock}, time::Instant};
    ///
    /// let before = tsc::read();
    /// // 3 GHz.
    /// let clock = TscClock::start(3_000_000_000);
    /// // What was before its start is at its start.
    /// assert_eq!(clock.at(before), Instant::START);
    /// ```
    #[must_use]
    pub fn start(hz: u64) -> Self {
        Self {
            time: Monotonic::start(read(), hz),
            counter: Counter::Tsc {
                to_nanos: Scale::new(hz, NANOS_HZ),
                to_ticks: Scale::new(NANOS_HZ, hz),
            },
            queue: None,
        }
    }

    /// A clock that starts now and goes by KVM's paravirtual clock, read by its protocol each time. `None`
    /// if the hypervisor is not KVM or has no such clock.
    ///
    /// KVM writes to a static of this library for as long as the guest runs.
    ///
    /// # Safety
    ///
    /// Ring 0, memory mapped one to one, and not called on two vCPUs.
    ///
    /// # Examples
    ///
    /// ```
    /// # dormir_guest::entry!(main, owns_machine);
    /// use dormir::arch::x86_64::{tsc, tsc::TscClock};
    ///
    /// // SAFETY: ring 0, one vCPU, memory mapped one to one.
    /// let clock = unsafe { TscClock::start_pvclock() }.unwrap_or_else(|| {
    ///     // SAFETY: the same, and interrupts are masked.
    ///     let (hz, _) = unsafe { tsc::find_frequency() }.expect("the TSC's frequency is known");
    ///     TscClock::start(hz)
    /// });
    /// dormir_guest::println!("clock: {}", clock.source());
    /// ```
    #[must_use]
    pub unsafe fn start_pvclock() -> Option<Self> {
        // SAFETY: the caller's promises are the ones asked for.
        let (pvclock, nanos) = unsafe { Pvclock::start() }?;
        Some(Self {
            time: Monotonic::start(nanos, NANOS_HZ),
            counter: Counter::Pvclock(pvclock),
            queue: None,
        })
    }

    /// Has `queue` look at the time and set its alarm anew whenever the TSC is found to have been set back or
    /// ahead, or to count at another rate: for the queue in which this clock is installed.
    ///
    /// # Examples
    ///
    /// ```
    /// # dormir_guest::entry!(main, owns_machine);
    /// use dormir::{arch::x86_64::{alarm::PitAlarm, tsc::TscClock}, time::TimerQueue};
    /// use spin::Once;
    ///
    /// static TIMERS: TimerQueue = TimerQueue::new();
    /// static CLOCK: Once<TscClock> = Once::new();
    /// static ALARM: Once<PitAlarm> = Once::new();
    ///
    /// let clock = CLOCK.call_once(|| TscClock::start(3_000_000_000).for_queue(&TIMERS));
    /// TIMERS.install(clock, ALARM.call_once(|| PitAlarm::new(clock)))?;
    /// # Ok::<(), dormir::time::AlreadyInstalled>(())
    /// ```
    #[must_use]
    pub fn for_queue(mut self, queue: &'static TimerQueue) -> Self {
        self.queue = Some(queue);
        self
    }

    /// What it goes by.
    ///
    /// # Examples
    ///
    /// ```
    /// # dormir_guest::entry!(main);
    /// use dormir::arch::x86_64::tsc::{ClockSource, TscClock};
    ///
    /// assert_eq!(TscClock::start(3_000_000_000).source(), ClockSource::Tsc);
    /// ```
    #[must_use]
    pub fn source(&self) -> ClockSource {
        match self.counter {
            Counter::Tsc { .. } => ClockSource::Tsc,
            Counter::Pvclock(_) => ClockSource::Pvclock,
        }
    }

    /// The time at which the TSC had this value. Of a value from before the TSC stepped, it is a time that
    /// was never shown.
    ///
    /// # Examples
    ///
    /// ```
    /// # dormir_guest::entry!(main);
    /// use core::time::Duration;
    /// use dormir::{
    ///     arch::x86_64::{tsc, tsc::TscClock},
    ///     block_on, idle::Halt, platform::bare, time::Timer,
    /// };
    ///
    /// let machine = bare::machine().expect("the machine is set up");
    /// let clock = TscClock::start(machine.tsc_hz);
    /// block_on(async { Timer::after(Duration::from_millis(1)).await }, Halt);
    /// let latency = clock.at(tsc::read()).saturating_duration_since(clock.at(bare::last_timer_interrupt()));
    /// dormir_guest::println!("awake {latency:?} after the interrupt");
    /// ```
    #[must_use]
    #[inline]
    pub fn at(&self, tsc: u64) -> Instant {
        Instant::from_nanos(match &self.counter {
            Counter::Tsc { to_nanos, .. } => to_nanos.down(self.time.at(tsc)),
            Counter::Pvclock(pvclock) => self.time.at(pvclock.nanos_at(tsc)),
        })
    }

    /// How long it is until the clock shows `at`; `None` if it does.
    ///
    /// While the clock waits for a TSC that has gone back a little, that counts too: else the alarm would
    /// interrupt again and again meanwhile.
    #[inline]
    pub(super) fn left(&self, at: Instant) -> Option<Left> {
        let until = |shown: u64| at.as_nanos().checked_sub(shown).filter(|&left| left != 0);
        match &self.counter {
            Counter::Tsc { to_nanos, to_ticks } => {
                let (elapsed, held, tsc) = self.tsc();
                let nanos = until(to_nanos.down(elapsed))?;
                // One tick more, since the clock rounds down.
                let ticks = to_ticks.up(nanos).saturating_add(held + 1);
                Some(Left {
                    nanos: nanos.saturating_add(to_nanos.up(held)),
                    tsc: tsc.saturating_add(ticks),
                })
            }
            Counter::Pvclock(pvclock) => {
                let (now, held) = match pvclock.usual(&self.time) {
                    Some(now) => (now, 0),
                    None => self.unusual_pvclock(pvclock),
                };
                let nanos = until(now.elapsed)?.saturating_add(held);
                Some(Left {
                    nanos,
                    tsc: now.tsc.saturating_add(now.rate.ticks(nanos)),
                })
            }
        }
    }

    /// Elapsed ticks, those for which it stands still, and the TSC itself.
    #[inline(always)]
    fn tsc(&self) -> (u64, u64, u64) {
        let mut tsc = 0;
        let elapsed = self.time.usual(|| {
            tsc = read();
            Some(tsc)
        });
        match elapsed {
            Some(elapsed) => (elapsed, 0, tsc),
            None => self.unusual_tsc(),
        }
    }

    #[cold]
    #[inline(never)]
    fn unusual_tsc(&self) -> (u64, u64, u64) {
        let mut tsc = 0;
        let reading = self.time.read(Readers::ThisVcpu, || {
            tsc = read();
            tsc
        });
        self.have_looked(reading.jumped);
        (reading.elapsed, reading.held, tsc)
    }

    /// The time, and the nanoseconds for which it stands still.
    #[cold]
    #[inline(never)]
    fn unusual_pvclock(&self, pvclock: &Pvclock) -> (pvclock::Usual, u64) {
        let look = pvclock.look(&self.time);
        self.have_looked(look.jumped);
        (look.usual, look.held)
    }

    #[inline(never)]
    fn pvclock_now(&self) -> Instant {
        let usual = match &self.counter {
            Counter::Pvclock(pvclock) => pvclock.usual(&self.time),
            Counter::Tsc { .. } => None,
        };
        Instant::from_nanos(match usual {
            Some(usual) => usual.elapsed,
            None => self.unusual_now(),
        })
    }

    #[cold]
    #[inline(never)]
    fn unusual_now(&self) -> u64 {
        match &self.counter {
            Counter::Tsc { to_nanos, .. } => to_nanos.down(self.unusual_tsc().0),
            Counter::Pvclock(pvclock) => self.unusual_pvclock(pvclock).0.elapsed,
        }
    }

    /// After a jump the alarm may be a value of the TSC that does not mean the same any more, and what was
    /// far may be due.
    fn have_looked(&self, jumped: bool) {
        if let (true, Some(queue)) = (jumped, self.queue) {
            queue.on_interrupt();
        }
    }
}

impl Clock for TscClock {
    #[inline]
    fn now(&self) -> Instant {
        // Each way by itself: with pvclock's in between, the TSC's would save registers that it does not need.
        let Counter::Tsc { to_nanos, .. } = &self.counter else {
            return self.pvclock_now();
        };
        Instant::from_nanos(match self.time.usual(|| Some(read())) {
            // The guard believes no time that is out of range.
            Some(elapsed) => to_nanos.down_within_range(elapsed),
            None => self.unusual_now(),
        })
    }
}

impl core::fmt::Debug for TscClock {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TscClock")
            .field("source", &self.source())
            .field("now", &self.now())
            .finish_non_exhaustive()
    }
}
