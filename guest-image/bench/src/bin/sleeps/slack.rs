//! Counts what timer slack saves: tasks sleep until scattered deadlines, on a queue whose alarm is
//! counted.

use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use alloc::format;
use dormir::{
    arch::x86_64::{alarm::OneShotAlarm, interrupt::InterruptFrame, tsc::TscClock, vector},
    executor::{Executor, Shared, Up64},
    idle::{Halt, Idle, IdleContext},
    interrupt_entry,
    platform::bare::{self, Machine},
    time::{Alarm, Instant, TimerQueue},
};
use dormir_bench_guest::random::Random;
use dormir_guest::console::report;
use spin::Once;

use crate::{INSTRUCTIONS_HZ, NAME};

/// How many tasks sleep...
const TASKS: usize = 10;

/// ... how often each...
const SLEEPS: u64 = 100;

/// ... and for how long at most.
const LONGEST: Duration = Duration::from_millis(10);

/// How much later than a deadline the alarm may come.
const SLACKS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(1)];

static TIMERS: TimerQueue = TimerQueue::new();
static ALARM_WRITES: AtomicU64 = AtomicU64::new(0);
static HALTS: AtomicU64 = AtomicU64::new(0);
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);

/// Reports the row `exits` for each slack, unless `max` rules out that many timers.
pub(crate) fn run(machine: &Machine, max: usize) {
    if max < TASKS {
        return;
    }
    install(machine);
    for slack in SLACKS {
        TIMERS.set_slack(slack);
        let counters = [&ALARM_WRITES, &HALTS, &INTERRUPTS];
        for counter in counters {
            counter.store(0, Ordering::Relaxed);
        }
        sleep();
        let row = format!(
            "{NAME}/exits/{TASKS}/{}/{}",
            slack.as_nanos(),
            machine.timer
        );
        report(&format!("{row}/sleeps"), TASKS as u64 * SLEEPS);
        for (name, counter) in ["alarm_writes", "halts", "eois"].iter().zip(counters) {
            report(&format!("{row}/{name}"), counter.load(Ordering::Relaxed));
        }
    }
}

dormir::tasks! {
    async fn sleeper(index: u64), pool = TASKS {
        let mut random = Random::seeded(index + 1);
        for _ in 0..SLEEPS {
            let time = Duration::from_nanos(random.below(LONGEST.as_nanos() as u64));
            TIMERS.timer(TIMERS.now().saturating_add(time)).await;
        }
    }
}

fn sleep() {
    static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    let runner = EXECUTOR.enter().expect("it is entered only here");
    let mut runner = runner.with_timers(&TIMERS);
    for index in 0..TASKS as u64 {
        let spawned = runner.spawner().spawn_detached(sleeper(index));
        spawned.unwrap_or_else(|_| panic!("there is room for all"));
    }
    runner.run(CountedHalt);
}

/// Installs the machine's clock and alarm in the queue, and handles the alarm's interrupt.
fn install(machine: &Machine) {
    static CLOCK: Once<TscClock> = Once::new();
    static ALARM: Once<CountedAlarm> = Once::new();
    let apic = machine.apic.expect("it is the xAPIC's timer");
    let clock = CLOCK.call_once(|| TscClock::start(INSTRUCTIONS_HZ));
    let alarm = ALARM.call_once(|| CountedAlarm(OneShotAlarm::new(apic, clock, INSTRUCTIONS_HZ)));
    TIMERS.install(clock, alarm).expect("it has none yet");
    // SAFETY: made by `interrupt_entry!`, and ends the local APIC's interrupt.
    unsafe { bare::set_interrupt_handler(vector::APIC_TIMER, alarm_entry) };
}

extern "sysv64" fn on_alarm(_frame: &InterruptFrame) {
    bare::end_of_interrupt();
    INTERRUPTS.fetch_add(1, Ordering::Relaxed);
    TIMERS.on_interrupt();
}
interrupt_entry!(alarm_entry => on_alarm);

/// An alarm whose writes are counted.
struct CountedAlarm(OneShotAlarm);

impl Alarm for CountedAlarm {
    fn set(&self, at: Instant) {
        ALARM_WRITES.fetch_add(1, Ordering::Relaxed);
        self.0.set(at);
    }

    fn off(&self) {
        ALARM_WRITES.fetch_add(1, Ordering::Relaxed);
        self.0.off();
    }
}

/// Halts, and counts the halts.
struct CountedHalt;

impl Idle for CountedHalt {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        // It halts if and only if this returns true.
        let counted = || {
            let halts = cx.is_idle();
            HALTS.fetch_add(halts.into(), Ordering::Relaxed);
            halts
        };
        Halt.wait(&IdleContext::new(cx.timers(), cx.deadline(), &counted));
    }
}
