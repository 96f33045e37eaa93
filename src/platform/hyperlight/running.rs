//! One guest call that runs tasks, from its entry to its return.

use core::{
    cell::Cell,
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
    host_calls::table::{on_full, with_calls},
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

/// How many passes may come between two exchanges while the host may have something for the guest,
/// or the other way round. Tasks that are always ready would else keep both from ever going.
const PASSES: u32 = 256;

/// Makes the first exchange of a call that runs tasks, if there was none: the clock is right after
/// one. If it fails, the call ends after the current poll.
pub(super) fn enter_if_needed() {
    if RUNS.load(Ordering::Relaxed) && !host::has_entered() {
        host::exchange_now();
    }
}

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
    /// Begins the call. The host is not asked for anything before it is needed.
    pub(super) fn enter() -> Result<Self, Error> {
        if RUNS.load(Ordering::Relaxed) {
            return Err(Error::AlreadyRunning);
        }
        host::enter();
        on_full(host::exchange_now);
        install_clock(TimerQueue::global())?;
        spawner();
        RUNS.store(true, Ordering::Relaxed);
        Ok(Self {
            tasks: Tasks {
                runner: RUNNER.0.take(),
                passes: 0,
            },
            waits: Waits { ticks: false },
        })
    }

    /// Runs a future to its end, and the tasks meanwhile.
    pub(super) fn block_on<F: Future>(
        &mut self,
        future: Blocking<'_, F>,
    ) -> Result<F::Output, Error> {
        let mut work = WithTasks(future, &mut self.tasks);
        drive(TimerQueue::global(), &mut work, &mut self.waits)?
    }

    /// Runs the tasks until none is ready, with what the host has for them, and hands over what is
    /// queued for it. Returns the next deadline.
    pub(super) fn until_idle(&mut self) -> Result<Option<Instant>, Error> {
        if host::expects() {
            host::exchange(Some(Duration::ZERO))?;
        }
        loop {
            let next = match drive(TimerQueue::global(), &mut self.tasks, &mut Return) {
                Ok(error) => return Err(error),
                Err(next) => next,
            };
            if !with_calls(|calls| calls.has_news()) {
                return Ok(next);
            }
            host::exchange(Some(Duration::ZERO))?;
        }
    }

    /// The number of tasks that have not ended.
    pub(super) fn tasks_left(&self) -> usize {
        EXECUTOR.tasks()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The host is not to go on with what nothing awaits. An error is seen at the next exchange.
        if with_calls(|calls| calls.has_cancels()) {
            let _ = host::exchange(Some(Duration::ZERO));
        }
        if self.waits.ticks {
            tick::stop();
        }
        TimerQueue::global().disarm();
        RUNNER.0.set(self.tasks.runner.take());
        RUNS.store(false, Ordering::Relaxed);
    }
}

/// The guest's tasks.
struct Tasks {
    /// `None` only while the call ends.
    runner: Option<GuestRunner>,
    /// The number of passes since the last exchange, if there is a reason for one.
    passes: u32,
}

impl Tasks {
    fn exchange_if_busy(&mut self) {
        self.passes += 1;
        if self.passes >= PASSES {
            self.passes = 0;
            if host::expects() || with_calls(|calls| calls.has_news()) {
                host::exchange_now();
            }
        }
    }
}

impl Work for Tasks {
    type Output = Error;

    fn poll(&mut self) -> Option<Error> {
        let runner = self
            .runner
            .as_mut()
            .expect("it is there until the call ends");
        runner.pass();
        // No interrupt reports deadlines. So this must look, even if tasks are always ready.
        TimerQueue::global().look();
        self.exchange_if_busy();
        host::take_failure()
    }

    fn is_idle(&self) -> bool {
        self.runner.as_ref().is_none_or(Runner::is_idle)
    }
}

/// A future and the guest's tasks. The future is polled between their passes.
struct WithTasks<'a, 'b, F>(Blocking<'a, F>, &'b mut Tasks);

impl<F: Future> Work for WithTasks<'_, '_, F> {
    type Output = Result<F::Output, Error>;

    fn poll(&mut self) -> Option<Self::Output> {
        match (self.0.poll(), host::take_failure()) {
            (_, Some(error)) => Some(Err(error)),
            (Some(output), None) => Some(Ok(output)),
            (None, None) => self.1.poll().map(Err),
        }
    }

    fn is_idle(&self) -> bool {
        self.0.is_idle() && self.1.is_idle()
    }
}

/// The idle policy of a call.
struct Waits {
    /// Whether the timer was started.
    ticks: bool,
}

impl Rest for Waits {
    type End = Error;

    fn rest(&mut self, cx: &IdleContext<'_>) -> Result<(), Error> {
        // Only this main line wakes tasks, and it waits here.
        let until = cx.deadline();
        let wait = until.map(|until| until.saturating_duration_since(CLOCK.now()));
        if let Some(error) = host::take_failure() {
            return Err(error);
        }
        let expects = host::expects();
        let has_news = || with_calls(|calls| calls.has_news());
        match (until, wait) {
            // Already due: needs no call of the host and no timer.
            (_, Some(Duration::ZERO)) => Ok(()),
            _ if expects => host::exchange(wait),
            (Some(until), Some(wait)) => {
                let limit = host::longest_wait();
                if wait > limit {
                    return Err(Error::TooLong { wait, limit });
                }
                if !host::has_interrupts() {
                    host::exchange(Some(wait))
                } else if has_news() {
                    host::exchange(Some(Duration::ZERO))
                } else {
                    self.halt(until, cx);
                    Ok(())
                }
            }
            _ => Err(Error::NothingToWaitFor),
        }
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
