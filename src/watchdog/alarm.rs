//! The alarm between a queue and its own, which also interrupts at the watchdog's looks.

use core::{cell::Cell, ptr, time::Duration};

use critical_section::Mutex;
use spin::Once;

use super::SHORTEST;
use crate::{
    last_yield::{self, Found},
    time::{Alarm, Devices, Instant, TimerQueue},
};

const NEVER: u64 = Instant::NEVER.as_nanos();

/// Code that has not yielded for longer than the limit.
pub(super) struct Overdue {
    pub(super) length: Duration,
    pub(super) limit: Duration,
}

/// Puts the watchdog between `queue` and its alarm, and sets the limit.
pub(super) fn start(queue: &'static TimerQueue, limit: Duration) {
    let devices = queue
        .installed()
        .expect("the watchdog's queue has no clock: call `platform::bare::init` first");
    let mut is_new = false;
    let watched = WATCHDOG.watched.call_once(|| {
        is_new = true;
        Watched {
            queue,
            devices,
            replacing: Devices {
                clock: devices.clock,
                alarm: &WATCHDOG,
            },
        }
    });
    assert!(
        ptr::eq(watched.queue, queue),
        "the watchdog was started with another queue; there is one"
    );
    let limit = u64::try_from(limit.as_nanos()).unwrap_or(NEVER);
    WATCHDOG.change(|state, _| state.limit = limit);
    if is_new {
        queue.replace(&watched.replacing);
    }
    rouse();
}

/// The alarm has interrupted. Returns what has not yielded for too long, if anything.
pub(super) fn interrupted() -> Option<Overdue> {
    WATCHDOG
        .change(|state, watched| {
            let overdue = state.interrupted(watched);
            // A one-shot that has interrupted is off.
            if state.deadline.min(state.look) != NEVER {
                state.set_alarm(watched);
            }
            overdue
        })
        .flatten()
}

/// Something is to be watched again.
fn rouse() {
    WATCHDOG.change(|state, watched| {
        last_yield::wake();
        state.look = watched.now().saturating_add(state.interval());
        // An alarm that is set for an earlier time, or for the same, leads to a look too.
        if state.look < state.set_for {
            state.set_alarm(watched);
        }
    });
}

static WATCHDOG: Watchdog = Watchdog {
    watched: Once::new(),
    state: Mutex::new(Cell::new(State {
        limit: NEVER,
        deadline: NEVER,
        look: NEVER,
        set_for: NEVER,
    })),
};

struct Watchdog {
    watched: Once<Watched>,
    state: Mutex<Cell<State>>,
}

/// A queue, and its devices.
struct Watched {
    queue: &'static TimerQueue,
    /// Those that were installed.
    devices: &'static Devices,
    /// Those that the queue has used since then.
    replacing: Devices,
}

impl Watched {
    fn now(&self) -> u64 {
        self.devices.clock.now().as_nanos()
    }
}

impl Watchdog {
    /// Changes the state, with interrupts masked. Before the start there is nothing to change.
    fn change<R>(&self, change: impl FnOnce(&mut State, &Watched) -> R) -> Option<R> {
        let watched = self.watched.get()?;
        Some(critical_section::with(|cs| {
            let cell = self.state.borrow(cs);
            let mut state = cell.get();
            let result = change(&mut state, watched);
            cell.set(state);
            result
        }))
    }

    /// Sets or withdraws the queue's deadline.
    fn set_deadline(&self, deadline: u64) {
        self.change(|state, watched| {
            state.deadline = deadline;
            // Even if the alarm is set for that: the clock may have been set back.
            state.set_alarm(watched);
        });
    }
}

impl Alarm for Watchdog {
    fn set(&self, at: Instant) {
        self.set_deadline(at.as_nanos());
    }

    fn off(&self) {
        self.set_deadline(NEVER);
    }
}

/// What the alarm must do, and what it does. In nanoseconds; `NEVER` is none.
#[derive(Clone, Copy)]
struct State {
    /// How long code may run without yielding.
    limit: u64,
    /// What the queue has set its alarm for, until that has passed.
    deadline: u64,
    /// When the watchdog looks next; `NEVER` while it sleeps.
    look: u64,
    /// What the installed alarm is set for, until it interrupts.
    set_for: u64,
}

impl State {
    /// The time between two looks; `NEVER` without a limit.
    fn interval(&self) -> u64 {
        match self.limit {
            NEVER => NEVER,
            limit => (limit / 8).max(SHORTEST.as_nanos() as u64),
        }
    }

    /// The alarm has interrupted.
    fn interrupted(&mut self, watched: &Watched) -> Option<Overdue> {
        self.set_for = NEVER;
        let now = watched.now();
        self.pass_on(now, watched);
        if self.look == NEVER {
            return None;
        }
        // Any interrupt is a look. So hardware that cannot count to the next one, and interrupts
        // earlier, does not wake an idle guest again and again until then.
        let Found::NotSince(yielded) = last_yield::look(Instant::from_nanos(now)) else {
            self.sleep();
            return None;
        };
        let end = yielded.as_nanos().saturating_add(self.limit);
        if now < end {
            self.look = now.saturating_add(self.interval()).min(end);
            return None;
        }
        self.sleep();
        Some(Overdue {
            length: Duration::from_nanos(now - yielded.as_nanos()),
            limit: Duration::from_nanos(self.limit),
        })
    }

    /// There is nothing to watch, or it was reported: no look until something else is polled.
    fn sleep(&mut self) {
        self.look = NEVER;
        last_yield::sleep(rouse);
    }

    /// Reports the interrupt to the queue if the queue's deadline has passed.
    fn pass_on(&mut self, now: u64, watched: &Watched) {
        if self.deadline <= now {
            self.deadline = NEVER;
            watched.queue.on_interrupt();
        }
    }

    /// Sets the installed alarm for the queue's deadline or the next look.
    fn set_alarm(&mut self, watched: &Watched) {
        let mut interval = self.interval();
        loop {
            self.set_for = self.deadline.min(self.look);
            if self.set_for == NEVER {
                watched.devices.alarm.off();
                return;
            }
            watched.devices.alarm.set(Instant::from_nanos(self.set_for));
            // The alarm may ignore what passed before it was written.
            let now = watched.now();
            if now < self.set_for {
                return;
            }
            self.pass_on(now, watched);
            if self.look <= now {
                // Longer each time, for an alarm that takes longer than that to set.
                self.look = now.saturating_add(interval);
                interval = interval.saturating_mul(2);
            }
        }
    }
}
