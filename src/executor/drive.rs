//! The run loop of [`Runner`](super::Runner), [`block_on`](crate::block_on) and Hyperlight's guest
//! calls.

use core::convert::Infallible;

use crate::{
    idle::{Idle, IdleContext},
    last_yield::Stretch,
    time::{Instant, Served, TimerQueue, pause},
};

/// The tasks or the future that a loop polls.
pub(crate) trait Work {
    /// What the loop returns.
    type Output;

    /// Polls what is ready, once. Returns an output when there is nothing left to do.
    fn poll(&mut self) -> Option<Self::Output>;

    /// Whether nothing is ready. May be called with interrupts masked.
    fn is_idle(&self) -> bool;
}

/// What a loop does when nothing is ready.
pub(crate) trait Rest {
    /// Why the loop ends although there is work left.
    type End;

    /// Waits, as [`Idle::wait`] does.
    fn rest(&mut self, cx: &IdleContext<'_>) -> Result<(), Self::End>;
}

impl<I: Idle> Rest for I {
    type End = Infallible;

    #[inline(always)]
    fn rest(&mut self, cx: &IdleContext<'_>) -> Result<(), Infallible> {
        self.wait(cx);
        Ok(())
    }
}

/// For a loop that returns the next deadline instead of waiting.
pub(crate) struct Return;

impl Rest for Return {
    type End = Option<Instant>;

    #[inline(always)]
    fn rest(&mut self, cx: &IdleContext<'_>) -> Result<(), Option<Instant>> {
        Err(cx.deadline())
    }
}

/// Polls `work` and serves `timers` until `work` has an output, and calls `rest` whenever nothing
/// is ready.
///
/// When this returns an output, the alarm is off, unless it is set for another loop's timers.
///
/// # Panics
///
/// If it would wait while there are timers in the queue and another vCPU's loop serves them.
#[inline(always)]
pub(crate) fn drive<W: Work, R: Rest>(
    timers: &'static TimerQueue,
    work: &mut W,
    rest: &mut R,
) -> Result<W::Output, R::End> {
    let mut served = Served::new(timers);
    // The numbers are those of the path of a wake in the crate's documentation.
    loop {
        // 4. Poll. (There is no pass during a pause, see `time::pause`.)
        if !(pause::is_on(timers) && served.is_ours()) {
            if let Some(output) = work.poll() {
                if pause::is_on(timers) && served.is_ours() {
                    pause::end(timers);
                }
                served.disarm();
                return Ok(output);
            }
            pause::begin_if_needed(|| timers);
        }
        // 5. Alarm.
        let next = served.turn();
        let pauses = pause::is_on(timers) && served.is_ours();
        let rests = || work.is_idle() || pauses && pause::is_on(timers);
        if !rests() {
            continue;
        }
        // 6. Halt. This check only saves the call of a policy that would return at once. The check
        // that counts is the policy's own, with interrupts masked.
        served.begin_to_wait();
        let is_idle = || rests() && timers.is_settled();
        if is_idle() {
            {
                let _waiting = Stretch::wait();
                rest.rest(&IdleContext::new(timers, next, &is_idle))?;
            }
            // 3. Wake.
            served.look_after_wait();
            if pauses {
                pause::end(timers);
            }
        }
    }
}
