//! What the tasks do, each until a certain instant.

pub(crate) mod devices;
pub(crate) mod interrupts;
pub(crate) mod tasks;
pub(crate) mod timers;

use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use dormir::time::{Instant, Timer};
use dormir_devices_guest::random::Random;

use crate::{board::Kind, watch::watch};

/// The longest sleep, in microseconds.
const LONGEST: u64 = 1 << 20;

/// By what the sleeps are longer, on a machine that would have no time to be idle otherwise.
static PACE: AtomicU64 = AtomicU64::new(1);

/// Adapts the sleeps, after a while in which the loop was idle so often.
pub(crate) fn adapt(idle: u64) {
    let pace = PACE.load(Ordering::Relaxed);
    let pace = match idle {
        0..10 => (pace * 2).min(256),
        10..100 => pace,
        _ => (pace / 2).max(1),
    };
    PACE.store(pace, Ordering::Relaxed);
}

/// Sleeps for up to so many microseconds, or longer on a slow machine.
pub(crate) async fn nap(random: &mut Random, most_micros: u64) {
    let most = (most_micros * PACE.load(Ordering::Relaxed)).min(LONGEST);
    let length = Duration::from_nanos(random.below(most * 1000));
    let deadline = Instant::now().saturating_add(length);
    watch(Kind::Timers, deadline, Timer::at(deadline)).await;
}
