//! Sets up the interrupts of the sweep, and the clock and alarm of dormir's timers.

use core::sync::atomic::{AtomicU64, Ordering};

use dormir::{
    arch::x86_64::{
        alarm::{OneShotAlarm, PitAlarm},
        interrupt::InterruptFrame,
        tsc::TscClock,
        vector,
    },
    interrupt_entry,
    platform::bare,
    time::{Alarm, Clock, Instant, TimerQueue},
};
use dormir_programs::machine::{self, Delivery, apic};
use spin::Once;

use crate::{moved, pair};

/// Under `-icount shift=0` an instruction takes 1 ns, for the TSC and for the local APIC's timer.
const INSTRUCTIONS_HZ: u64 = 1_000_000_000;

/// What interrupts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    /// The local APIC's timer, with a handler that wakes. The PIT is the alarm of dormir's timers.
    Hit(Delivery),
    /// The local APIC's timer as the alarm of dormir's timers. The PIT is no alarm.
    Deadline,
    /// The local APIC's timer, with a handler that moves a dormir timer. The PIT is the alarm of
    /// dormir's timers.
    HandlerTimer,
    /// Two interrupts: see [`pair`]. The PIT is the alarm of dormir's timers.
    Pair,
}

/// Sets up the machine and unmasks interrupts.
pub(crate) fn init(via: Via, stale_clock: bool) -> Result<(), &'static str> {
    machine::init()?;
    static CLOCK: Once<TscClock> = Once::new();
    let clock = CLOCK.call_once(|| TscClock::start(INSTRUCTIONS_HZ));

    static PIT_ALARM: Once<PitAlarm> = Once::new();
    static APIC_ALARM: Once<OneShotAlarm> = Once::new();
    let alarm: &dyn Alarm = match via {
        Via::Hit(_) | Via::HandlerTimer | Via::Pair => PIT_ALARM.call_once(|| PitAlarm::new(clock)),
        Via::Deadline => {
            APIC_ALARM.call_once(|| OneShotAlarm::new(*apic(), clock, INSTRUCTIONS_HZ))
        }
    };
    match via {
        Via::Hit(delivery) => machine::aim(delivery),
        Via::Pair => pair::install(),
        Via::HandlerTimer => {
            apic().one_shot_mode();
            // SAFETY: made by `interrupt_entry!`, and acknowledges the local APIC's interrupt.
            unsafe { bare::set_interrupt_handler(vector::APIC_TIMER, moves_entry) };
        }
        Via::Deadline => {
            // SAFETY: the same.
            unsafe { bare::set_interrupt_handler(vector::APIC_TIMER, alarm_entry) };
        }
    }

    static STALE_CLOCK: Once<StaleClock> = Once::new();
    static STALE_ALARM: Once<StaleAlarm> = Once::new();
    let installed = if stale_clock {
        TimerQueue::global().install(
            STALE_CLOCK.call_once(|| StaleClock(clock)),
            STALE_ALARM.call_once(|| StaleAlarm { clock, alarm }),
        )
    } else {
        TimerQueue::global().install(clock, alarm)
    };
    installed.map_err(|_| "the machine was set up twice")?;
    x86_64::instructions::interrupts::enable();
    Ok(())
}

/// The time at which the mutant's alarm was last set, until the clock is next read; then 0.
static SET_AT: AtomicU64 = AtomicU64::new(0);

/// The mutant that does not read the clock after arming: the first read returns the time before.
struct StaleClock(&'static TscClock);

impl Clock for StaleClock {
    fn now(&self) -> Instant {
        match SET_AT.swap(0, Ordering::Relaxed) {
            0 => self.0.now(),
            before => Instant::from_nanos(before),
        }
    }
}

struct StaleAlarm {
    clock: &'static TscClock,
    alarm: &'static dyn Alarm,
}

impl Alarm for StaleAlarm {
    fn set(&self, at: Instant) {
        let before = self.clock.now().min(at).as_nanos();
        self.alarm.set(at);
        SET_AT.store(before.saturating_sub(1), Ordering::Relaxed);
    }

    fn off(&self) {
        self.alarm.off();
    }
}

extern "sysv64" fn on_apic_moves(frame: &InterruptFrame) {
    moved::on_hit(frame);
    apic().end_of_interrupt();
}
interrupt_entry!(moves_entry => on_apic_moves);

extern "sysv64" fn on_alarm(_frame: &InterruptFrame) {
    apic().end_of_interrupt();
    TimerQueue::global().on_interrupt();
}
interrupt_entry!(alarm_entry => on_alarm);
