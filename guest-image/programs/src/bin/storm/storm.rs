//! The storm: its handler counts, signals one of the receivers, and arms the next interrupt. It
//! panics if interrupts nest, or if a task has made no progress for too many of them.

use core::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use dormir::{
    arch::x86_64::{halt::halt_instruction, interrupt::InterruptFrame, tsc},
    interrupt_entry,
    platform::bare,
    time::Instant,
};
use x86_64::instructions::interrupts;

use crate::{
    Mutant, source,
    tasks::{self, RECEIVERS},
};

/// Interrupts that have come.
static COUNT: AtomicU32 = AtomicU32::new(0);
/// How many come at most, and until when.
static LIMIT: AtomicU32 = AtomicU32::new(0);
static LAST_NANOS: AtomicU64 = AtomicU64::new(0);
/// Whether they signal, and tasks are watched.
static SIGNALS: AtomicBool = AtomicBool::new(false);
/// How many have ended a `hlt`.
static ENDED_HALTS: AtomicU32 = AtomicU32::new(0);
static IS_RUNNING: AtomicBool = AtomicBool::new(false);
/// The lowest stack pointer that was interrupted.
static LOWEST_STACK: AtomicU64 = AtomicU64::new(u64::MAX);
static MUTANT: AtomicU8 = AtomicU8::new(0);

/// The first period, in nanoseconds: from one interrupt's handler, which arms the next, to that.
/// With the instructions until it does, and those during which interrupts are masked, it is less
/// than 10 µs. The test demands that where time is a count of instructions, one a nanosecond.
const FIRST_PERIOD: u64 = 9400;
/// A period with which nothing of a task's time should be missing.
const LONGEST_PERIOD: u64 = 20_000_000;

/// Each task makes progress during this many interrupts.
const WATCH: u32 = 2000;
/// How often that was looked at.
static WATCHES: AtomicU32 = AtomicU32::new(0);

/// Puts the handler into place of dormir's.
pub(crate) fn install(mutant: Mutant) {
    MUTANT.store(mutant as u8, Ordering::Relaxed);
    // SAFETY: made by `interrupt_entry!`, and acknowledges the interrupts of the timer.
    unsafe { bare::set_interrupt_handler(source::vector(), storm_entry) };
}

fn is(mutant: Mutant) -> bool {
    MUTANT.load(Ordering::Relaxed) == mutant as u8
}

extern "sysv64" fn on_storm(frame: &InterruptFrame) {
    assert!(
        !IS_RUNNING.swap(true, Ordering::Relaxed),
        "interrupts nest: the stack grows"
    );
    LOWEST_STACK.fetch_min(frame.rsp, Ordering::Relaxed);
    if frame.rip == halt_instruction() + 1 {
        ENDED_HALTS.fetch_add(1, Ordering::Relaxed);
    }
    let count = COUNT.load(Ordering::Relaxed) + 1;
    COUNT.store(count, Ordering::Relaxed);
    let is_last = count >= LIMIT.load(Ordering::Relaxed)
        || Instant::now().as_nanos() >= LAST_NANOS.load(Ordering::Relaxed);
    if SIGNALS.load(Ordering::Relaxed) {
        tasks::count_interrupt();
        if is(Mutant::Forgetful) && count == WATCH {
            tasks::forget_signal();
        } else {
            tasks::signal(count as usize % RECEIVERS);
        }
        if count.is_multiple_of(WATCH) {
            tasks::watch(WATCH);
            WATCHES.fetch_add(1, Ordering::Relaxed);
        }
        if is_last {
            tasks::end();
        }
    }
    if !is_last {
        source::arm();
    }
    source::end_of_interrupt();
    if is(Mutant::Nested) {
        interrupts::enable();
        (0..100_000).for_each(|_| spin_loop());
        interrupts::disable();
    }
    IS_RUNNING.store(false, Ordering::Relaxed);
}
interrupt_entry!(storm_entry => on_storm);

/// Begins to send `interrupts`, but for no longer than `most`.
pub(crate) fn begin(interrupts: u32, most: Duration, signals: bool) {
    let last = Instant::now().saturating_add(most);
    LAST_NANOS.store(last.as_nanos(), Ordering::Relaxed);
    COUNT.store(0, Ordering::Relaxed);
    ENDED_HALTS.store(0, Ordering::Relaxed);
    LIMIT.store(interrupts, Ordering::Relaxed);
    SIGNALS.store(signals, Ordering::Relaxed);
    source::arm();
}

/// The interrupts that have come since [`begin`], and how many of them ended a `hlt`.
pub(crate) fn counts() -> (u32, u32) {
    let ended_halts = ENDED_HALTS.load(Ordering::Relaxed);
    (COUNT.load(Ordering::Relaxed), ended_halts)
}

/// How often it was looked whether tasks starve: never, where fewer interrupts came than one look
/// takes.
pub(crate) fn watches() -> u32 {
    WATCHES.load(Ordering::Relaxed)
}

/// The lowest stack pointer that was interrupted.
pub(crate) fn lowest_stack() -> u64 {
    LOWEST_STACK.load(Ordering::Relaxed)
}

/// Executes a `pause` in each 1024th turn of a loop. QEMU's translator (7.2) may leave an interrupt
/// of the 8259s pending while the guest is in translated code that jumps to itself; a `pause`
/// leaves it.
fn look_up(turn: u64) {
    if turn.is_multiple_of(1024) {
        spin_loop();
    }
}

/// Sets the shortest period, from [`FIRST_PERIOD`] on, with which the interrupts leave half of the
/// time.
pub(crate) fn find_period() -> Result<(), &'static str> {
    const SAMPLE: u32 = 500;
    let mut period = FIRST_PERIOD;
    while period <= LONGEST_PERIOD {
        source::set_period(period);
        let mut start = tsc::read();
        begin(SAMPLE, Duration::MAX, false);
        let mut turns = 0_u64;
        while COUNT.load(Ordering::Relaxed) < SAMPLE {
            turns += 1;
            look_up(turns);
        }
        let stormy = tsc::read() - start;
        start = tsc::read();
        // As many turns of the same loop.
        while turns > 0 && COUNT.load(Ordering::Relaxed) == SAMPLE {
            turns -= 1;
            look_up(turns);
        }
        let quiet = tsc::read() - start;
        if quiet * 2 >= stormy {
            dormir_guest::console::report("period_nanos", period);
            return Ok(());
        }
        period *= 2;
    }
    Err("interrupts leave no time, however seldom they come")
}
