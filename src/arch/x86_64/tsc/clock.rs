//! [`TscClock`]: the time-stamp counter in nanoseconds, never going back.

use core::fmt;

use super::{
    counter::read,
    pvclock::{Pvclock, PvclockTime},
};
use crate::time::{
    Clock, Instant, Scale, TimerQueue,
    monotonic::{Monotonic, Readers},
};

/// Nanoseconds in a second.
const NANOS_HZ: u64 = 1_000_000_000;

/// The source that a [`TscClock`] takes the time from.
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
///     dormir_guest::println!("it stays right if the guest is moved to another host");
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ClockSource {
    /// The TSC, whose frequency does not change.
    Tsc,
    /// KVM's paravirtual clock: the TSC, with the frequency and offset that KVM currently reports.
    Pvclock,
}

impl fmt::Display for ClockSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tsc => "TSC",
            Self::Pvclock => "pvclock",
        })
    }
}

/// The TSC as a [`Clock`] that starts at zero.
///
/// It never goes back, even if the TSC does. If the TSC goes back by less than a second, the clock
/// stands still until the TSC has caught up. If it goes back farther, as when a snapshot is
/// restored, the clock continues from the last time that it showed. If the TSC jumps ahead, so does
/// the clock. A [clock by pvclock](Self::start_pvclock) stays right.
///
/// [`now`](Clock::now) may be called in any context, NMI handlers included. It uses no locked
/// instruction, except with a pvclock that differs between vCPUs. On several vCPUs whose TSCs
/// differ, a clock by the TSC alone can show one of them an earlier time than another, by the
/// difference of the TSCs.
///
/// # Alarms after a jump
///
/// An alarm that was set before the TSC was set back or ahead may come too late: it is a value of
/// the TSC, or a time during which the clock jumps past deadlines. The clock detects a step back,
/// or a jump of more than a minute, the next time it is read. At its next turn the
/// [queue](Self::for_queue) then checks which deadlines have passed and sets the alarm again. From
/// then on no deadline is missed.
///
/// A vCPU that sleeps until that alarm does not read the clock. Under KVM the alarm comes when it
/// was due before the jump, since KVM sets a timer of the host when the guest writes the deadline.
/// If deadlines must follow a jump at once, interrupt the guest then, with a handler that calls
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
    basis: Basis,
    queue: Option<&'static TimerQueue>,
}

/// The unit that `TscClock::time` counts in.
enum Basis {
    /// Ticks of the TSC.
    Tsc { to_nanos: Scale, to_ticks: Scale },
    /// Nanoseconds.
    Pvclock(Pvclock),
}

/// The time that is left until an instant.
pub(crate) struct Countdown {
    pub(crate) nanos: u64,
    /// The value of the TSC at which the clock will show the instant.
    pub(crate) tsc: u64,
}

impl TscClock {
    /// A clock that starts now, for a TSC of this frequency.
    ///
    /// # Panics
    ///
    /// If `hz` is zero, or at least 2³² times 10⁹. (The clock is exact from 1 MHz to 100 GHz.)
    #[must_use]
    pub fn start(hz: u64) -> Self {
        Self {
            time: Monotonic::start(read(), hz),
            basis: Basis::Tsc {
                to_nanos: Scale::new(hz, NANOS_HZ),
                to_ticks: Scale::new(NANOS_HZ, hz),
            },
            queue: None,
        }
    }

    /// A clock that starts now and takes the time from KVM's paravirtual clock. Returns `None` if
    /// the hypervisor is not KVM or has no such clock.
    ///
    /// From then on KVM writes to a static of this library, as long as the guest runs.
    ///
    /// # Safety
    ///
    /// Ring 0, memory mapped one to one, and not called on two vCPUs.
    #[must_use]
    pub unsafe fn start_pvclock() -> Option<Self> {
        // SAFETY: the caller guarantees what `Pvclock::start` requires.
        let (pvclock, nanos) = unsafe { Pvclock::start() }?;
        Some(Self {
            time: Monotonic::start(nanos, NANOS_HZ),
            basis: Basis::Pvclock(pvclock),
            queue: None,
        })
    }

    /// Makes `queue` check the time and set its alarm again whenever the TSC turns out to have been
    /// set back or ahead, or to count at another rate. It is the queue in which this clock is
    /// installed.
    #[must_use]
    pub fn for_queue(mut self, queue: &'static TimerQueue) -> Self {
        self.queue = Some(queue);
        self
    }

    /// The source that it takes the time from.
    #[must_use]
    pub fn source(&self) -> ClockSource {
        match self.basis {
            Basis::Tsc { .. } => ClockSource::Tsc,
            Basis::Pvclock(_) => ClockSource::Pvclock,
        }
    }

    /// The time at which the TSC had this value. For a value from before the TSC was set back or
    /// ahead, it is a time that the clock never showed.
    #[must_use]
    #[inline]
    pub fn at(&self, tsc: u64) -> Instant {
        Instant::from_nanos(match &self.basis {
            Basis::Tsc { to_nanos, .. } => to_nanos.down(self.time.at(tsc)),
            Basis::Pvclock(pvclock) => self.time.at(pvclock.nanos_at(tsc)),
        })
    }

    /// The time that is left until the clock shows `at`; `None` if it does.
    ///
    /// It includes the time for which the clock stands still after the TSC has gone back. Otherwise
    /// the alarm would interrupt again and again during that time.
    #[inline]
    pub(crate) fn until(&self, at: Instant) -> Option<Countdown> {
        let nanos_from = |shown: u64| at.as_nanos().checked_sub(shown).filter(|&nanos| nanos != 0);
        match &self.basis {
            Basis::Tsc { to_nanos, to_ticks } => {
                let (elapsed, held, tsc) = self.tsc();
                let nanos = nanos_from(to_nanos.down(elapsed))?;
                // One tick more, since the clock rounds down.
                let ticks = to_ticks.up(nanos).saturating_add(held + 1);
                Some(Countdown {
                    nanos: nanos.saturating_add(to_nanos.up(held)),
                    tsc: tsc.saturating_add(ticks),
                })
            }
            Basis::Pvclock(pvclock) => {
                let (now, held) = match pvclock.usual(&self.time) {
                    Some(now) => (now, 0),
                    None => self.unusual_pvclock(pvclock),
                };
                let nanos = nanos_from(now.elapsed)?.saturating_add(held);
                Some(Countdown {
                    nanos,
                    tsc: now.tsc.saturating_add(now.rate.ticks(nanos)),
                })
            }
        }
    }

    /// The elapsed ticks, the ticks for which the clock stands still, and the value of the TSC.
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
        self.on_reading(reading.jumped);
        (reading.elapsed, reading.held, tsc)
    }

    /// The time, and the nanoseconds for which the clock stands still.
    #[cold]
    #[inline(never)]
    fn unusual_pvclock(&self, pvclock: &Pvclock) -> (PvclockTime, u64) {
        let reading = pvclock.read(&self.time);
        self.on_reading(reading.jumped);
        (reading.time, reading.held)
    }

    #[inline(never)]
    fn pvclock_now(&self) -> Instant {
        let usual = match &self.basis {
            Basis::Pvclock(pvclock) => pvclock.usual(&self.time),
            Basis::Tsc { .. } => None,
        };
        Instant::from_nanos(match usual {
            Some(usual) => usual.elapsed,
            None => self.unusual_now(),
        })
    }

    #[cold]
    #[inline(never)]
    fn unusual_now(&self) -> u64 {
        match &self.basis {
            Basis::Tsc { to_nanos, .. } => to_nanos.down(self.unusual_tsc().0),
            Basis::Pvclock(pvclock) => self.unusual_pvclock(pvclock).0.elapsed,
        }
    }

    /// Makes the queue check its deadlines after a jump: the alarm may be a value of the TSC that
    /// no longer means the same time, and distant deadlines may have passed.
    fn on_reading(&self, jumped: bool) {
        if let (true, Some(queue)) = (jumped, self.queue) {
            queue.on_interrupt();
        }
    }
}

impl Clock for TscClock {
    #[inline]
    fn now(&self) -> Instant {
        // The two sources do not share a path: pvclock's would make the TSC's save registers that
        // it does not need.
        let Basis::Tsc { to_nanos, .. } = &self.basis else {
            return self.pvclock_now();
        };
        Instant::from_nanos(match self.time.usual(|| Some(read())) {
            // `Monotonic` returns no time that is out of range.
            Some(elapsed) => to_nanos.down_within_range(elapsed),
            None => self.unusual_now(),
        })
    }
}

impl fmt::Debug for TscClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TscClock")
            .field("source", &self.source())
            .field("now", &self.now())
            .finish_non_exhaustive()
    }
}
