//! One step: a request that is answered at one instruction of the path to `hlt`.

use alloc::boxed::Box;
use core::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::Ordering,
    task::{Context, Poll},
    time::Duration,
};

use dormir::{
    arch::x86_64::{
        alarm::PitAlarm,
        tsc::{self, TscClock},
    },
    block_on,
    idle::{Halt, Idle, IdleContext},
    time::{Timer, TimerQueue},
};
use dormir_programs::hit;
use spin::Once;

use crate::{
    device::{self, Source},
    mutants::{self, Mutant},
};

/// Under `-icount shift=0` an instruction takes 1 ns.
const INSTRUCTIONS_HZ: u64 = 1_000_000_000;

/// Ends a sleep that nothing else has ended. Its length in instructions (a million) distinguishes a
/// lost answer from a slow one, which takes a few thousand.
const BACKUP: Duration = Duration::from_millis(1);

/// Makes the PIT the alarm of dormir's timers.
pub(crate) fn init_timers() -> Result<(), &'static str> {
    static CLOCK: Once<TscClock> = Once::new();
    static ALARM: Once<PitAlarm> = Once::new();
    let clock = CLOCK.call_once(|| TscClock::start(INSTRUCTIONS_HZ));
    let alarm = ALARM.call_once(|| PitAlarm::new(clock));
    let installed = TimerQueue::global().install(clock, alarm);
    installed.map_err(|_| "the machine was set up twice")
}

/// The result of a step.
pub(crate) struct StepOutcome {
    /// The interrupted address.
    pub(crate) interrupted: u64,
    /// From the answer to the end of its request, in instructions.
    pub(crate) late: u64,
}

/// Runs a step: the request is answered `step` instructions after it was sent.
pub(crate) fn run(rng: &Source, step: u32) -> Result<StepOutcome, &'static str> {
    device::begin(step);
    let mut request = pin!(rng.request(Box::new([0; 8])));
    let mut backup = pin!(Timer::after(BACKUP));
    let task = poll_fn(|cx: &mut Context<'_>| {
        if let Poll::Ready((_, result)) = request.as_mut().poll(cx) {
            let late = tsc::read() - hit::AT.load(Ordering::Relaxed);
            return Poll::Ready(match result {
                Ok(1) => Ok(late),
                _ => Err("the request has failed"),
            });
        }
        // If it ends the sleep, the driver finds the answer when it is polled next.
        if backup.as_mut().poll(cx).is_ready() {
            backup.set(Timer::after(BACKUP));
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    });
    let late = block_on(task, SweepIdle);
    // Waits until nothing is armed any more, so that every step starts in the same state.
    block_on(async { Timer::after(BACKUP * 2).await }, Halt);
    let interrupted = hit::ADDRESS.load(Ordering::Relaxed);
    late.map(|late| StepOutcome { interrupted, late })
}

/// [`Halt`], after what a mutant does too late.
struct SweepIdle;

impl Idle for SweepIdle {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        if mutants::is(Mutant::AcknowledgesAfterTheLook) {
            device::acknowledge();
        }
        if mutants::is(Mutant::NoLookAfterListening) {
            device::listen_late();
        }
        Halt.wait(cx);
    }
}
