//! One step: arm, let the executor go to sleep, see what woke it and when.

use core::{
    cell::UnsafeCell,
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use dormir::{
    arch::x86_64::{interrupt::InterruptFrame, pit, tsc},
    block_on,
    idle::Halt,
    time::{Instant, Timer},
};

use crate::{
    idle::{By, Wait},
    machine::{Via, apic},
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

/// The TSC when the handler ran; 0 if it has not.
static HIT_AT: AtomicU64 = AtomicU64::new(0);
static HIT_ADDRESS: AtomicU64 = AtomicU64::new(0);

/// The waker of the task that waits for the hit.
struct WakerSlot(UnsafeCell<Option<Waker>>);

// SAFETY: one vCPU. The main line writes the slot only while the local APIC's timer is stopped, so
// the handler, an NMI perhaps, never reads it meanwhile.
unsafe impl Sync for WakerSlot {}

static SLOT: WakerSlot = WakerSlot(UnsafeCell::new(None));

/// The handler's part; may run as an NMI.
pub(crate) fn on_hit(frame: &InterruptFrame) {
    HIT_ADDRESS.store(frame.rip, Ordering::Relaxed);
    HIT_AT.store(tsc::read(), Ordering::Relaxed);
    // SAFETY: the slot is not written while this may run.
    if let Some(waker) = unsafe { &*SLOT.0.get() } {
        waker.wake_by_ref();
    }
}

/// Has an interrupt come `step` instructions after it was armed, in the midst of the executor's way
/// from a poll to `hlt`.
pub(crate) fn run(via: Via, step: u32, wait: Wait) -> Outcome {
    let outcome = match via {
        Via::Interrupt | Via::Nmi => hit_after(step, wait),
        Via::Deadline => deadline_after(step, wait),
    };
    // Sleeps out what is armed still, so that each step begins alike.
    block_on(async { Timer::after(BACKUP * 2).await }, Halt);
    outcome
}

fn hit_after(step: u32, wait: Wait) -> Outcome {
    HIT_AT.store(0, Ordering::Relaxed);
    let mut armed = false;
    let mut backup = pin!(Timer::after(BACKUP));
    let task = poll_fn(|cx: &mut Context<'_>| {
        let hit_at = HIT_AT.load(Ordering::Relaxed);
        if hit_at != 0 {
            return Poll::Ready(tsc::read() - hit_at);
        }
        if !armed {
            armed = true;
            // SAFETY: the timer is stopped, so no handler reads the slot.
            unsafe { *SLOT.0.get() = Some(cx.waker().clone()) };
            apic().start_count(step);
        }
        // Never ready first: the hit comes before it, and whatever polls after it finds the hit.
        backup.as_mut().poll(cx).map(|()| u64::MAX)
    });
    let late = block_on(task, By(wait));
    Outcome {
        interrupted: HIT_ADDRESS.load(Ordering::Relaxed),
        late,
    }
}

fn deadline_after(step: u32, wait: Wait) -> Outcome {
    // Not an alarm of dormir's: it comes whatever the runner did, and has it look.
    pit::set(1193);
    let deadline = Instant::now().saturating_add(Duration::from_nanos(step.into()));
    block_on(Timer::at(deadline), By(wait));
    let late = Instant::now().saturating_since(deadline);
    Outcome {
        interrupted: 0,
        late: late.as_nanos() as u64,
    }
}
