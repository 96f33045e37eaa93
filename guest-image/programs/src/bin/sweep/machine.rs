//! The guest's own machine: the local APIC's timer interrupts, the PIT ends a sleep that should have
//! ended before.

use core::sync::atomic::{AtomicU64, Ordering};

use dormir::{
    arch::x86_64::{
        alarm::{OneShotAlarm, PitAlarm},
        apic::Apic,
        interrupt::{InterruptEntry, InterruptFrame},
        pic, pit,
        tsc::TscClock,
        vector,
    },
    interrupt_entry,
    platform::bare,
    time::{Alarm, Clock, Instant, TimerQueue},
};
use spin::Once;

use crate::{hit, moved};

/// Under `-icount shift=0` an instruction takes 1 ns, for the TSC and for the local APIC's timer.
const INSTRUCTIONS_HZ: u64 = 1_000_000_000;

/// What interrupts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    /// The local APIC's timer, to a handler of the sweep's. The PIT is the alarm of dormir's timers.
    Interrupt,
    /// The same as an NMI.
    Nmi,
    /// The local APIC's timer is the alarm of dormir's timers. The PIT is nobody's.
    Deadline,
    /// As `Interrupt`, to a handler that moves a dormir timer.
    HandlerTimer,
}

static APIC: Once<Apic> = Once::new();

/// The local APIC, once [`init`] has run.
pub(crate) fn apic() -> &'static Apic {
    APIC.get().expect("machine::init comes first")
}

/// Sets the machine up and unmasks interrupts.
pub(crate) fn init(via: Via, stale_clock: bool) -> Result<(), &'static str> {
    pic::init();
    if !pit::is_present() {
        return Err("the sweep needs a PIT");
    }
    pic::unmask(0);
    // SAFETY: ring 0, a local APIC in xAPIC mode after reset, its page mapped uncached.
    let apic = *APIC.call_once(|| unsafe { Apic::enable_xapic() });
    let clock = TscClock::start(INSTRUCTIONS_HZ);

    static PIT_ALARM: Once<PitAlarm> = Once::new();
    static APIC_ALARM: Once<OneShotAlarm> = Once::new();
    let (alarm, apic_entry): (&dyn Alarm, InterruptEntry) = match via {
        Via::Interrupt | Via::Nmi => (PIT_ALARM.call_once(|| PitAlarm::new(clock)), hit_entry),
        Via::HandlerTimer => (PIT_ALARM.call_once(|| PitAlarm::new(clock)), moves_entry),
        Via::Deadline => {
            let new = || OneShotAlarm::new(apic, clock, INSTRUCTIONS_HZ);
            (APIC_ALARM.call_once(new), alarm_entry)
        }
    };
    match via {
        Via::Interrupt | Via::HandlerTimer => apic.one_shot_mode(),
        Via::Nmi => apic.one_shot_nmi_mode(),
        Via::Deadline => {}
    }
    // SAFETY: it stores, and wakes `block_on`'s waker, which is a store.
    unsafe { dormir_guest::set_nmi_handler(hit::on_hit) };
    // SAFETY: made by `interrupt_entry!`, and acknowledges the local APIC's interrupt.
    unsafe { bare::set_interrupt_handler(vector::APIC_TIMER, apic_entry) };
    // SAFETY: made by `interrupt_entry!`, and acknowledges the PIT's interrupt.
    unsafe { bare::set_interrupt_handler(vector::PIT, pit_entry) };

    static STALE_CLOCK: Once<StaleClock> = Once::new();
    static CLOCK: Once<TscClock> = Once::new();
    static STALE_ALARM: Once<StaleAlarm> = Once::new();
    let installed = if stale_clock {
        TimerQueue::global().install(
            STALE_CLOCK.call_once(|| StaleClock(clock)),
            STALE_ALARM.call_once(|| StaleAlarm { clock, alarm }),
        )
    } else {
        TimerQueue::global().install(CLOCK.call_once(|| clock), alarm)
    };
    installed.map_err(|_| "the machine was set up twice")?;
    x86_64::instructions::interrupts::enable();
    Ok(())
}

/// The time at which the mutant's alarm was last set, until the clock is next read; then 0.
static SET_AT: AtomicU64 = AtomicU64::new(0);

/// The mutant that does not look at the clock after arming: its first look shows the time before.
struct StaleClock(TscClock);

impl Clock for StaleClock {
    fn now(&self) -> Instant {
        match SET_AT.swap(0, Ordering::Relaxed) {
            0 => self.0.now(),
            before => Instant::from_nanos(before),
        }
    }
}

struct StaleAlarm {
    clock: TscClock,
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

extern "sysv64" fn on_apic_hit(frame: &InterruptFrame) {
    hit::on_hit(frame);
    apic().end_of_interrupt();
}
interrupt_entry!(hit_entry => on_apic_hit);

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

/// As an alarm, or as what ends a lost sleep: either way the runner looks at the clock.
extern "sysv64" fn on_pit(_frame: &InterruptFrame) {
    pic::end_of_interrupt(0);
    TimerQueue::global().on_interrupt();
}
interrupt_entry!(pit_entry => on_pit);
