//! The clock and the alarm of the floor and of embassy, and whose interrupt goes where.
//!
//! dormir has those that `bare::init` made, which that keeps to itself. These are made once more in the same
//! way, of the same types, by what `bare::init` has found out.

use alloc::{boxed::Box, string::String, vec::Vec};

use dormir::{
    arch::x86_64::{
        alarm::{OneShotAlarm, PitAlarm, TscDeadlineAlarm},
        apic::Apic,
        interrupt::InterruptEntry,
        pic,
        tsc::TscClock,
        vector,
    },
    platform::bare::{self, ClockSource, TimerSource},
    time::{Alarm, Clock, Instant, TimerQueue},
};
use spin::Once;

/// What the runtimes share.
pub(crate) struct Machine {
    /// Its time is that of all rounds.
    pub(crate) clock: &'static TscClock,
    pub(crate) alarm: &'static dyn Alarm,
    /// How far the clock of dormir's timers is ahead of this one.
    ahead: i64,
    /// The local APIC, if the interrupts come from there and not from the PIC.
    apic: Option<Apic>,
    /// The least time from a round's start to its deadline.
    interval_nanos: u64,
}

static MACHINE: Once<Machine> = Once::new();

/// Makes clock and alarm.
pub(crate) fn start(interval_us: u64) -> Result<(), String> {
    let found = bare::machine().ok_or("the machine is not set up")?;
    let by_pvclock = match found.clock {
        // SAFETY: ring 0, one vCPU, memory mapped one to one, as `bare::init` was promised.
        ClockSource::Pvclock => unsafe { TscClock::start_pvclock() },
        _ => None,
    };
    let clock = by_pvclock.unwrap_or_else(|| TscClock::start(found.tsc_hz));
    let clock: &'static TscClock = Box::leak(Box::new(clock));
    let (alarm, apic): (&'static dyn Alarm, _) = match (found.timer, found.apic) {
        (TimerSource::Pit, _) => (Box::leak(Box::new(PitAlarm::new(clock))), None),
        (TimerSource::TscDeadline, Some(apic)) => {
            // SAFETY: `bare::init` has seen the processor's TSC-deadline bit.
            let alarm = unsafe { TscDeadlineAlarm::new(apic, clock) };
            (Box::leak(Box::new(alarm)), Some(apic))
        }
        (_, Some(apic)) => {
            let alarm = OneShotAlarm::new(apic, clock, found.timer_hz);
            (Box::leak(Box::new(alarm)), Some(apic))
        }
        (_, None) => return Err("the timer's local APIC is missing".into()),
    };
    static QUEUE: TimerQueue = TimerQueue::new();
    QUEUE
        .install(clock, alarm)
        .map_err(|_| "the queue has a clock already")?;
    MACHINE.call_once(|| Machine {
        clock,
        alarm,
        ahead: ahead_of(&QUEUE),
        apic,
        interval_nanos: interval_us.saturating_mul(1000),
    });
    Ok(())
}

/// How far the clock of dormir's timers is ahead of the one in `queue`. Both read the same TSC and make the same
/// of it, from another zero. So the one is read between two readings of the other, by the same instructions:
/// then it was read in the middle between them.
fn ahead_of(queue: &TimerQueue) -> i64 {
    #[inline(never)]
    fn nanos(queue: &TimerQueue) -> i64 {
        queue.now().as_nanos().cast_signed()
    }

    const READINGS: usize = 201;
    let reading = |_| {
        let before = nanos(TimerQueue::global());
        let between = nanos(queue);
        let after = nanos(TimerQueue::global());
        before + (after - before) / 2 - between
    };
    let mut readings: Vec<i64> = (0..READINGS).map(reading).collect();
    readings.sort_unstable();
    readings[READINGS / 2]
}

/// What [`start`] made.
#[inline(always)]
pub(crate) fn machine() -> &'static Machine {
    MACHINE.get().expect("the guest begins with it")
}

/// A way to end a timer's interrupt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Pic,
    Xapic,
    X2apic,
}

impl Machine {
    #[inline]
    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The same moment by the clock of dormir's timers.
    pub(crate) fn for_dormir(&self, instant: Instant) -> Instant {
        Instant::from_nanos(instant.as_nanos().saturating_add_signed(self.ahead))
    }

    /// Ends the timer's interrupt.
    #[inline(always)]
    pub(crate) fn end_of_interrupt(&self) {
        match self.apic {
            Some(apic) => apic.end_of_interrupt(),
            None => pic::end_of_interrupt(0),
        }
    }

    /// How the timer's interrupt is ended.
    pub(crate) fn ending(&self) -> Ending {
        match self.apic {
            None => Ending::Pic,
            Some(apic) if apic.is_x2apic() => Ending::X2apic,
            Some(_) => Ending::Xapic,
        }
    }

    /// Lets the timer's interrupt enter there from now on.
    ///
    /// # Safety
    ///
    /// `entry` must behave like one of `interrupt_entry!`, and end the timer's interrupt.
    pub(crate) unsafe fn on_interrupt(&self, entry: InterruptEntry) {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { bare::set_interrupt_handler(self.vector(), entry) };
    }

    /// Where the timer's interrupt enters at present.
    pub(crate) fn entry(&self) -> u64 {
        let table = x86_64::instructions::tables::sidt().base;
        // Two words a gate (SDM vol. 3, figure 7-8).
        let gate = table
            .as_ptr::<[u64; 2]>()
            .wrapping_add(self.vector().into());
        // SAFETY: the table has a gate for each vector; memory is mapped one to one, and nobody writes there.
        let [low, high] = unsafe { gate.read_volatile() };
        high << 32 | (low >> 32 & 0xffff_0000) | (low & 0xffff)
    }

    fn vector(&self) -> u8 {
        match self.apic {
            Some(_) => vector::APIC_TIMER,
            None => vector::PIT,
        }
    }

    /// A deadline from now: one interval ahead, and up to half of one more, so that the rounds do not fall
    /// into step with anything that the host does regularly.
    pub(crate) fn deadline_after(&self, now: Instant) -> Instant {
        let more = random() % (self.interval_nanos / 2 + 1);
        Instant::from_nanos(now.as_nanos() + self.interval_nanos + more)
    }
}

/// A pseudo-random number: Marsaglia's xorshift with the shifts 13, 7 and 17, the same in every run.
fn random() -> u64 {
    use core::sync::atomic::{AtomicU64, Ordering};

    static STATE: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);
    let mut state = STATE.load(Ordering::Relaxed);
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    STATE.store(state, Ordering::Relaxed);
    state
}
