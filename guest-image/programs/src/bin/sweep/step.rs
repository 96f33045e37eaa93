//! One step: arm, let the executor go to sleep, see what woke it and when.

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
    idle::{By, Wait},
    machine::Via,
    moved,
};

/// After this time a sleep is ended that nothing else has ended. Its length in instructions (a
/// million) tells a lost wake from a slow one, which takes some hundred.
const BACKUP: Duration = Duration::from_millis(1);

/// What came of a step.
pub(crate) struct Outcome {
    /// Which address was interrupted; 0 for `via=deadline`, where the handler is dormir's.
    pub(crate) interrupted: u64,
    /// From the interrupt handler (or the deadline) to the poll, in instructions.
    pub(crate) late: u64,
}

/// Has an interrupt come `step` instructions after it was armed, in the midst of the executor's way
/// from a poll to `hlt`.
pub(crate) fn run(via: Via, step: u32, wait: Wait) -> Outcome {
    let outcome = match via {
        Via::Hit(_) => hit_after(step, wait),
        Via::Deadline => deadline_after(step, wait),
        Via::HandlerTimer => moved_after(step, wait),
    };
    // Sleeps out what is armed still, so that each step begins alike.
    block_on(async { Timer::after(BACKUP * 2).await }, Halt);
    outcome
}

fn hit_after(step: u32, wait: Wait) -> Outcome {
    hit::AT.store(0, Ordering::Relaxed);
    let mut armed = false;
    let mut backup = pin!(Timer::after(BACKUP));
    let task = poll_fn(|cx: &mut Context<'_>| {
        let hit_at = hit::AT.load(Ordering::Relaxed);
        if hit_at != 0 {
            return Poll::Ready(tsc::read() - hit_at);
        }
        if !armed {
            armed = true;
            // SAFETY: the local APIC's timer is stopped.
            unsafe { hit::will_wake(cx.waker().clone()) };
            apic().start_count(step);
        }
        // Never ready first: the hit comes before it, and whatever polls after it finds the hit.
        backup.as_mut().poll(cx).map(|()| u64::MAX)
    });
    let late = block_on(task, By(wait));
    Outcome {
        interrupted: hit::ADDRESS.load(Ordering::Relaxed),
        late,
    }
}

fn moved_after(step: u32, wait: Wait) -> Outcome {
    let mut armed = false;
    let mut backup = pin!(Timer::after(BACKUP));
    let task = poll_fn(|cx: &mut Context<'_>| {
        if !armed {
            armed = true;
            moved::set(cx.waker());
            apic().start_count(step);
            return backup.as_mut().poll(cx).map(|()| u64::MAX);
        }
        // At the backup's end, too, this has ended, and is late.
        moved::poll()
    });
    let late = block_on(task, By(wait));
    Outcome {
        interrupted: hit::ADDRESS.load(Ordering::Relaxed),
        late,
    }
}

fn deadline_after(step: u32, wait: Wait) -> Outcome {
    // Not an alarm of dormir's: it comes whatever the runner did, and has it look.
    pit::set(1193);
    let deadline = Instant::now().saturating_add(Duration::from_nanos(step.into()));
    block_on(Timer::at(deadline), By(wait));
    let late = Instant::now().saturating_duration_since(deadline);
    Outcome {
        interrupted: 0,
        late: late.as_nanos() as u64,
    }
}
