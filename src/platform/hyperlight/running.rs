//! One guest call that runs tasks, from its entry to its return.

use core::{
    cell::Cell,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use x86_64::instructions::interrupts;

use super::{
    clock::{CLOCK, NoAlarm},
    error::Error,
    host, tick,
};
use crate::{
    arch::x86_64::halt::halt_if,
    executor::{Executor, Runner, SingleVcpu, Spawner, Up4096},
    time::{Clock, Instant, TimerQueue},
};

pub(super) type GuestRunner = Runner<Up4096, SingleVcpu>;

// SAFETY: a Hyperlight guest has one vCPU.
static EXECUTOR: Executor<Up4096, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

static ALARM: NoAlarm = NoAlarm;

/// Whether a call runs tasks now.
static RUNS: AtomicBool = AtomicBool::new(false);

/// Of the guest's main line.
struct MainLine<T>(Cell<Option<T>>);

// SAFETY: a guest has one vCPU, and this module's functions are for its main line, not for interrupt
// handlers. So there is one context that uses it.
unsafe impl<T> Sync for MainLine<T> {}

/// The runner, while no call has it. It stays for as long as the guest lives, and the tasks with it.
static RUNNER: MainLine<GuestRunner> = MainLine(Cell::new(None));

static SPAWNER: MainLine<Spawner> = MainLine(Cell::new(None));

/// A spawner for the guest's tasks, inside of calls that run them and outside.
pub(super) fn spawner() -> Spawner {
    let spawner = SPAWNER.0.get().unwrap_or_else(|| {
        let runner = EXECUTOR.enter().expect("it is entered here, once");
        let spawner = runner.spawner();
        RUNNER.0.set(Some(runner));
        spawner
    });
    SPAWNER.0.set(Some(spawner));
    spawner
}

/// A call that runs tasks. When it goes, interrupts are as they were and the timer is off.
pub(super) struct Running {
    /// Always there; gone while the call ends.
    runner: Option<GuestRunner>,
    timers: &'static TimerQueue,
    interrupts: bool,
    longest_wait: Duration,
    /// Whether the timer was started.
    ticks: bool,
}

impl Running {
    /// Begins the call: asks the host what time it is, and in which mode the sandbox is.
    pub(super) fn enter() -> Result<Self, Error> {
        if RUNS.load(Ordering::Relaxed) {
            return Err(Error::AlreadyRunning);
        }
        let timers = TimerQueue::global();
        let reply = host::entry()?;
        install_clock(timers)?;
        spawner();
        RUNS.store(true, Ordering::Relaxed);
        Ok(Self {
            runner: RUNNER.0.take(),
            timers,
            interrupts: reply.interrupts,
            longest_wait: Duration::from_nanos(reply.longest_wait),
            ticks: false,
        })
    }

    pub(super) fn runner(&mut self) -> &mut GuestRunner {
        self.runner.as_mut().expect("it is there until the end")
    }

    /// One pass: polls each ready task once, and serves the timers. Gives the next deadline.
    pub(super) fn turn(&mut self) -> Option<Instant> {
        self.runner().pass();
        // No interrupt says that a deadline has passed, also where tasks are always ready.
        self.timers.look();
        self.timers.turn()
    }

    /// Whether no task is ready and no timer needs a turn.
    pub(super) fn is_idle(&self) -> bool {
        self.runner.as_ref().is_none_or(Runner::is_idle)
    }

    pub(super) fn tasks_left(&self) -> usize {
        EXECUTOR.tasks()
    }

    /// Waits until the next deadline, or not at all if `idle` says that something is ready.
    pub(super) fn wait(
        &mut self,
        until: Option<Instant>,
        idle: impl Fn(&Self) -> bool,
    ) -> Result<(), Error> {
        // Only this vCPU's main line wakes tasks, and it is here.
        let until = until.ok_or(Error::NothingToWaitFor)?;
        let wait = until.saturating_since(CLOCK.now());
        if wait > self.longest_wait {
            let limit = self.longest_wait;
            return Err(Error::TooLong { wait, limit });
        }
        if wait.is_zero() {
            // Neither a call of the host nor a start of the timer for what is due.
        } else if self.interrupts {
            self.halt(until, idle);
        } else {
            host::wait(wait)?;
        }
        Ok(())
    }

    /// Halts from tick to tick: that costs a look at the clock, not a turn of the tasks.
    fn halt(&mut self, until: Instant, idle: impl Fn(&Self) -> bool) {
        let were_masked = !interrupts::are_enabled();
        if !self.ticks {
            // SAFETY: the host says that the sandbox has them; the rest is so in every Hyperlight guest.
            unsafe { tick::start() };
            self.ticks = true;
        }
        let sleeps = || CLOCK.now() < until && idle(self);
        while sleeps() {
            halt_if(sleeps);
            if were_masked {
                interrupts::disable();
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ticks {
            tick::stop();
        }
        self.timers.disarm();
        RUNNER.0.set(self.runner.take());
        RUNS.store(false, Ordering::Relaxed);
    }
}

/// Gives the queue its clock, in the guest's first call.
fn install_clock(timers: &'static TimerQueue) -> Result<(), Error> {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.load(Ordering::Relaxed) {
        return Ok(());
    }
    timers
        .install(&CLOCK, &ALARM)
        .map_err(|_| Error::OtherClock)?;
    INSTALLED.store(true, Ordering::Relaxed);
    Ok(())
}
