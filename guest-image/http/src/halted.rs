//! How long the vCPU was halted, and how often.

use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use dormir::{
    idle::{Halt, Idle, IdleContext},
    time::Instant,
};

/// In nanoseconds.
static HALTED: AtomicU64 = AtomicU64::new(0);
static HALTS: AtomicU64 = AtomicU64::new(0);

/// Halts, and counts the time.
pub(crate) struct Counted;

impl Idle for Counted {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        let start = Instant::now();
        Halt.wait(cx);
        HALTS.fetch_add(1, Ordering::Relaxed);
        HALTED.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }
}

/// The time that the vCPU was halted, since the start.
pub(crate) fn halted() -> Duration {
    Duration::from_nanos(HALTED.load(Ordering::Relaxed))
}

/// How often it was halted.
pub(crate) fn halts() -> u64 {
    HALTS.load(Ordering::Relaxed)
}
