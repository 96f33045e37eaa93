//! Interrupts: of this vCPU's own, of a second timer, and of the host.

use core::{
    arch::asm,
    ptr,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use dormir::{
    Event,
    arch::x86_64::{interrupt::InterruptFrame, pic, pit, vector},
    executor::Task,
    interrupt_entry,
    platform::bare::{self, DeviceInterrupt, TimerSource},
    time::Instant,
};
use dormir_abi::port::{self, HostInterrupt};
use dormir_devices_guest::random::Random;

use super::nap;
use crate::{
    EXECUTOR,
    board::{self, Kind, Wait},
    watch::{watch, watch_wait},
};

/// Of so many interrupts one spawns a task.
const SPAWNS: u64 = 8;

/// An event of a handler, and how often the handler has run.
struct Source {
    event: Event,
    handled: AtomicU64,
    /// The place of the wait for the next interrupt.
    awaited: AtomicUsize,
}

const NONE: usize = usize::MAX;

impl Source {
    const fn new() -> Self {
        Self {
            event: Event::new(),
            handled: AtomicU64::new(0),
            awaited: AtomicUsize::new(NONE),
        }
    }

    /// For the handler: counts, and wakes the task. Returns how often it has run.
    fn signal(&self) -> u64 {
        let place = self.awaited.swap(NONE, Ordering::Relaxed);
        if place != NONE {
            board::issue(place);
        }
        self.event.signal();
        self.handled.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Waits for interrupts, and returns how many have come.
    async fn next(&self, kind: Kind) -> u64 {
        let wait = Wait::begin(kind, None);
        self.awaited.store(wait.place(), Ordering::Relaxed);
        let event = self.event.wait().expect("one task waits");
        let came = watch_wait(wait, event).await;
        self.awaited.store(NONE, Ordering::Relaxed);
        came.into()
    }

    /// Waits until all interrupts have come.
    async fn take_all(&self, kind: Kind, has_ended: &AtomicBool) {
        let mut taken = 0;
        loop {
            taken += self.next(kind).await;
            let handled = self.handled.load(Ordering::Relaxed);
            assert!(
                taken <= handled,
                "{taken} of {handled} interrupts were taken"
            );
            if has_ended.load(Ordering::Relaxed) && taken == handled {
                return;
            }
        }
    }
}

static OWN: Source = Source::new();
static OWN_ENDED: AtomicBool = AtomicBool::new(false);

extern "sysv64" fn on_own(_frame: &InterruptFrame) {
    if OWN.signal().is_multiple_of(SPAWNS) {
        let first = Wait::begin(Kind::Handlers, Some(Instant::now()));
        let task = Task::boxed(async move { first.end(true) });
        let spawned = EXECUTOR.remote().spawn_detached(task);
        assert!(spawned.is_ok(), "the executor has room");
    }
    bare::end_of_interrupt();
}
interrupt_entry!(own_entry => on_own);

/// Sends this vCPU interrupts.
pub(crate) async fn send(end: Instant, mut random: Random) {
    // SAFETY: made by `interrupt_entry!`, and ends the local APIC's interrupt.
    unsafe { bare::set_interrupt_handler(vector::FREE, own_entry) };
    let apic = bare::machine().and_then(|machine| machine.apic);
    let apic = apic.expect("the machine has a local APIC");
    while Instant::now() < end {
        nap(&mut random, 500).await;
        apic.interrupt_self(vector::FREE);
    }
    OWN_ENDED.store(true, Ordering::Relaxed);
    // Its task sees that it is the last.
    apic.interrupt_self(vector::FREE);
}

/// Waits for these.
pub(crate) async fn receive() {
    OWN.take_all(Kind::Interrupts, &OWN_ENDED).await;
}

static PIT: Source = Source::new();
static PIT_ENDS: AtomicBool = AtomicBool::new(false);
static PIT_ENDED: AtomicBool = AtomicBool::new(false);

/// The second timer interrupts about so often in a second. That ends halts, too, so that lost wakes
/// are looked for even if there were no other interrupts.
const PIT_HZ: u64 = 100;

extern "sysv64" fn on_pit(_frame: &InterruptFrame) {
    if PIT_ENDS.load(Ordering::Relaxed) {
        PIT_ENDED.store(true, Ordering::Relaxed);
    } else {
        set_pit();
    }
    PIT.signal();
    pic::end_of_interrupt(0);
}
interrupt_entry!(pit_entry => on_pit);

fn set_pit() {
    pit::set((pit::HZ / PIT_HZ) as u16);
}

/// Starts the second timer, if there is one that is not the first.
pub(crate) fn start_pit() -> bool {
    let is_free = bare::machine().is_some_and(|machine| machine.timer != TimerSource::Pit);
    if !is_free || !pit::is_present() {
        return false;
    }
    // SAFETY: made by `interrupt_entry!`, and ends the PIC's interrupt.
    unsafe { bare::set_interrupt_handler(vector::PIT, pit_entry) };
    pic::unmask(0);
    set_pit();
    true
}

/// Waits for its interrupts.
pub(crate) async fn receive_pit() {
    PIT.take_all(Kind::Pit, &PIT_ENDED).await;
}

/// Stops it, with one more interrupt.
pub(crate) fn end_pit() {
    PIT_ENDS.store(true, Ordering::Relaxed);
}

/// A request to the host, and its answer: a [`HostInterrupt`] that both may access at any time.
static REQUEST: [AtomicU64; HostInterrupt::WORDS] =
    [const { AtomicU64::new(0) }; HostInterrupt::WORDS];

/// Asks the host for an interrupt, or, with vector 0, for its answer alone.
fn ask(vector: u8, delay: Duration) {
    REQUEST[0].store(vector.into(), Ordering::Relaxed);
    REQUEST[1].store(delay.as_nanos() as u64, Ordering::Relaxed);
    REQUEST[2].store(0, Ordering::Relaxed);
    // SAFETY: the VMM reads the request and writes its last word; all words are atomics. There is
    // no `nomem`, so the request is in memory by then. Other VMMs ignore the port. The image lies
    // below 4 GiB.
    unsafe {
        asm!(
            "out dx, eax",
            in("dx") port::HOST_INTERRUPT,
            in("eax") ptr::from_ref(&REQUEST).addr() as u32,
            options(nostack, preserves_flags),
        );
    }
}

/// Whether this VMM injects interrupts.
pub(crate) fn has_host() -> bool {
    ask(0, Duration::ZERO);
    REQUEST[2].load(Ordering::Acquire) != 0
}

/// Has the host inject interrupts.
pub(crate) async fn host(end: Instant, mut random: Random) {
    let mut interrupt = DeviceInterrupt::vector().expect("one is free");
    let message = interrupt.message().expect("a vector has a message");
    while Instant::now() < end {
        let delay = Duration::from_micros(random.below(2000));
        ask(message.data as u8, delay);
        let due = Instant::now().saturating_add(delay);
        let came = watch(Kind::Host, due, interrupt.wait()).await;
        assert!(came == 1, "one interrupt was asked for, and {came} came");
    }
}
