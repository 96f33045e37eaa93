//! One guest call that runs tasks, from its entry to its return.

use core::{
    cell::Cell,
    convert::Infallible,
    future::Future,
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
    executor::{
        Executor, Runner, SingleVcpu, Spawner, Up4096,
        block_on::Blocking,
        drive::{Rest, Return, Work, drive},
    },
    idle::IdleContext,
    time::{Clock, Instant, TimerQueue},
};

pub(super) type GuestRunner = Runner<Up4096, SingleVcpu>;

// SAFETY: a Hyperlight guest has one vCPU.
static EXECUTOR: Executor<Up4096, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

static ALARM: NoAlarm = NoAlarm;

/// Whether a call is running tasks.
static RUNS: AtomicBool = AtomicBool::new(false);

/// State of the guest's main line.
struct MainLine<T>(Cell<Option<T>>);

// SAFETY: a guest has one vCPU, and this module's functions are for its main line, not for
// interrupt handlers. So only one context uses it.
unsafe impl<T> Sync for MainLine<T> {}

/// The runner, while no call uses it. It lives as long as the guest, and the tasks with it.
static RUNNER: MainLine<GuestRunner> = MainLine(Cell::new(None));

static SPAWNER: MainLine<Spawner> = MainLine(Cell::new(None));

/// A spawner for the guest's tasks, for calls that run them and for others.
pub(super) fn spawner() -> Spawner {
    let spawner = SPAWNER.0.get().unwrap_or_else(|| {
        let runner = EXECUTOR.enter().expect("it is entered only here, once");
        let spawner = runner.spawner();
        RUNNER.0.set(Some(runner));
        spawner
    });
    SPAWNER.0.set(Some(spawner));
    spawner
}

/// A guest call that runs tasks. Dropping it turns the timer off; the interrupt flag is as before.
pub(super) struct Running {
    tasks: Tasks,
    waits: Waits,
}

impl Running {
    /// Begins the call: asks the host for the time and the sandbox's mode.
    pub(super) fn enter() -> Result<Self, Error> {
        if RUNS.load(Ordering::Relaxed) {
            return Err(Error::AlreadyRunning);
        }
        let reply = host::entry()?;
        install_clock(TimerQueue::global())?;
        spawner();
        RUNS.store(true, Ordering::Relaxed);
        Ok(Self {
            tasks: Tasks(RUNNER.0.take()),
            waits: Waits {
                interrupts: reply.interrupts,
                longest: Duration::from_nanos(reply.longest_wait),
                ticks: false,
            },
        })
    }

    /// Runs a future to its end, and the tasks meanwhile.
    pub(super) fn block_on<F: Future>(
        &mut self,
        future: Blocking<'_, F>,
    ) -> Result<F::Output, Error> {
        let mut work = WithTasks(future, &mut self.tasks);
        drive(TimerQueue::global(), &mut work, &mut self.waits)
    }

    /// Runs the tasks until none is ready. Returns the next deadline.
    pub(super) fn until_idle(&mut self) -> Option<Instant> {
        let Err(next) = drive(TimerQueue::global(), &mut self.tasks, &mut Return);
        next
    }

    /// The number of tasks that have not ended.
    pub(super) fn tasks_left(&self) -> usize {
        EXECUTOR.tasks()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.waits.ticks {
            tick::stop();
        }
        TimerQueue::global().disarm();
        RUNNER.0.set(self.tasks.0.take());
        RUNS.store(false, Ordering::Relaxed);
    }
}

/// The guest's tasks. The runner is `None` only while the call ends.
struct Tasks(Option<GuestRunner>);

impl Work for Tasks {
    type Output = Infallible;

    fn poll(&mut self) -> Option<Infallible> {
        let runner = self.0.as_mut().expect("it is there until the call ends");
        runner.pass();
        // No interrupt reports deadlines. So this must look, even if tasks are always ready.
        TimerQueue::global().look();
        None
    }

    fn is_idle(&self) -> bool {
        self.0.as_ref().is_none_or(Runner::is_idle)
    }
}

/// A future and the guest's tasks. The future is polled between their passes.
struct WithTasks<'a, 'b, F>(Blocking<'a, F>, &'b mut Tasks);

impl<F: Future> Work for WithTasks<'_, '_, F> {
    type Output = F::Output;

    fn poll(&mut self) -> Option<F::Output> {
        let output = self.0.poll();
        if output.is_none() {
            self.1.poll();
        }
        output
    }

    fn is_idle(&self) -> bool {
        self.0.is_idle() && self.1.is_idle()
    }
}

/// The idle policy of a call.
struct Waits {
    interrupts: bool,
    longest: Duration,
    /// Whether the timer was started.
    ticks: bool,
}

impl Rest for Waits {
    type End = Error;

    fn rest(&mut self, cx: &IdleContext<'_>) -> Result<(), Error> {
        // Only this main line wakes tasks, and it waits here.
        let until = cx.deadline().ok_or(Error::NothingToWaitFor)?;
        let wait = until.saturating_duration_since(CLOCK.now());
        if wait > self.longest {
            let limit = self.longest;
            return Err(Error::TooLong { wait, limit });
        }
        if wait.is_zero() {
            // Already due: needs no call of the host and no timer.
        } else if self.interrupts {
            self.halt(until, cx);
        } else {
            host::wait(wait)?;
        }
        Ok(())
    }
}

impl Waits {
    /// Halts from tick to tick. Each tick costs a look at the clock, but no pass.
    fn halt(&mut self, until: Instant, cx: &IdleContext<'_>) {
        let were_masked = !interrupts::are_enabled();
        if !self.ticks {
            // SAFETY: the host reported interrupts; the other conditions hold in every Hyperlight
            // guest.
            unsafe { tick::start() };
            self.ticks = true;
        }
        let sleeps = || CLOCK.now() < until && cx.is_idle();
        while sleeps() {
            halt_if(sleeps);
            if were_masked {
                interrupts::disable();
            }
        }
    }
}

/// Installs the queue's clock, in the guest's first call.
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
