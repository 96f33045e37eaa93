//! One step: arms the interrupt, lets the executor go to sleep, and records what woke it and when.

use core::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::Ordering,
    task::{Context, Poll},
    time::Duration,
};

use dormir::{
    arch::x86_64::{pit, tsc},
    block_on,
    idle::Halt,
    time::{Instant, Timer},
};
use dormir_programs::{hit, machine::apic};

use crate::{
    idle::{Wait, WaitBy},
    machine::Via,
    moved,
};

/// Ends a sleep that nothing else has ended. Its length in instructions (a million) distinguishes a
/// lost wake from a slow one, which takes a few hundred.
const BACKUP: Duration = Duration::from_millis(1);

/// The result of a step.
pub(crate) struct StepOutcome {
    /// The interrupted address; 0 for `via=deadline`, where the handler is dormir's.
    pub(crate) interrupted: u64,
    /// From the interrupt handler (or the deadline) to the poll, in instructions.
    pub(crate) late: u64,
}

/// Runs a step: an interrupt comes `step` instructions after it was armed, on the path from a poll
/// to `hlt`.
pub(crate) fn run(via: Via, step: u32, wait: Wait) -> StepOutcome {
    let outcome = match via {
        Via::Hit(_) => hit_after(step, wait),
        Via::Deadline => deadline_after(step, wait),
        Via::HandlerTimer => moved_after(step, wait),
        // The caller has aimed the two.
        Via::Pair => hit_after(step, wait),
    };
    // Waits until nothing is armed any more, so that every step starts in the same state.
    block_on(async { Timer::after(BACKUP * 2).await }, Halt);
    outcome
}

/// Called once in each step, before the interrupt is armed: a place for a debugger to stop at.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn sweep_step_begins() {
    // It is not left out, nor merged with another function.
    core::hint::black_box(sweep_step_begins as extern "C" fn());
}

fn hit_after(step: u32, wait: Wait) -> StepOutcome {
    hit::AT.store(0, Ordering::Relaxed);
    hit::ADDRESS.store(0, Ordering::Relaxed);
    let mut armed = false;
    let mut backup = pin!(Timer::after(BACKUP));
    let task = poll_fn(|cx: &mut Context<'_>| {
        let hit_at = hit::AT.load(Ordering::Relaxed);
        if hit_at != 0 {
            return Poll::Ready(tsc::read() - hit_at);
        }
        if !armed {
            armed = true;
            sweep_step_begins();
            // SAFETY: the local APIC's timer is stopped.
            unsafe { hit::will_wake(cx.waker().clone()) };
            apic().start_count(step);
        }
        // Never ready first: the hit comes earlier, and any later poll finds the hit.
        backup.as_mut().poll(cx).map(|()| u64::MAX)
    });
    let late = block_on(task, WaitBy(wait));
    StepOutcome {
        interrupted: hit::ADDRESS.load(Ordering::Relaxed),
        late,
    }
}

fn moved_after(step: u32, wait: Wait) -> StepOutcome {
    let mut armed = false;
    let mut backup = pin!(Timer::after(BACKUP));
    let task = poll_fn(|cx: &mut Context<'_>| {
        if !armed {
            armed = true;
            moved::set(cx.waker());
            apic().start_count(step);
            return backup.as_mut().poll(cx).map(|()| u64::MAX);
        }
        // If the backup ends the sleep, this timer has expired too, and is late.
        moved::poll()
    });
    let late = block_on(task, WaitBy(wait));
    StepOutcome {
        interrupted: hit::ADDRESS.load(Ordering::Relaxed),
        late,
    }
}

fn deadline_after(step: u32, wait: Wait) -> StepOutcome {
    // Not dormir's alarm: it comes whatever the run loop did, and makes it check.
    pit::set(1193);
    let deadline = Instant::now().saturating_add(Duration::from_nanos(step.into()));
    block_on(Timer::at(deadline), WaitBy(wait));
    let late = Instant::now().saturating_duration_since(deadline);
    StepOutcome {
        interrupted: 0,
        late: late.as_nanos() as u64,
    }
}
