//! An idle policy that looks for lost wakes: when the loop is idle, each task that was woken has
//! been polled.

use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use dormir::{
    idle::{Halt, Idle, IdleContext},
    time::Instant,
};

use crate::board;

/// The time between two looks.
const PERIOD: Duration = Duration::from_millis(50);

/// How often the loop was idle.
pub(crate) static WAITS: AtomicU64 = AtomicU64::new(0);

/// [`Halt`], and looks before it.
pub(crate) struct Checked {
    next: Instant,
}

impl Checked {
    pub(crate) const fn new() -> Self {
        Self {
            next: Instant::START,
        }
    }
}

impl Idle for Checked {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        let now = cx.timers().now();
        if now >= self.next {
            self.next = now.saturating_add(PERIOD);
            board::check();
        }
        WAITS.fetch_add(1, Ordering::Relaxed);
        Halt.wait(cx);
    }
}
