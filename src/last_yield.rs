//! When the code that runs last yielded to a run loop: for the watchdog, and for reports of what
//! hangs. Without the features `metrics` and `watchdog` it compiles to nothing.
//!
//! Code yields when it returns from a poll, and when it calls a run loop of its own that polls or
//! waits. So there is one moment for all run loops of a vCPU, nested ones included.

#[cfg(any(feature = "metrics", feature = "watchdog"))]
use core::sync::atomic::{AtomicU64, Ordering, compiler_fence};

#[cfg(feature = "watchdog")]
use crate::hook::Hook;
use crate::time::Instant;

/// No poll is in progress, or the innermost run loop waits: nothing needs to yield.
#[cfg(any(feature = "metrics", feature = "watchdog"))]
const IDLE: u64 = Instant::NEVER.as_nanos();

/// Code has yielded, and the clock was not read then.
#[cfg(any(feature = "metrics", feature = "watchdog"))]
const UNTIMED: u64 = 0;

/// [`IDLE`], [`UNTIMED`], or an instant in nanoseconds.
#[cfg(any(feature = "metrics", feature = "watchdog"))]
static LAST_YIELD: AtomicU64 = AtomicU64::new(IDLE);

/// Set while the watchdog sleeps: rouses it, since there is something to watch again.
#[cfg(feature = "watchdog")]
static ROUSE: Hook = Hook::none();

/// A poll or a wait, from its beginning until this is dropped, even if it unwinds.
pub(crate) struct Stretch {
    /// Whether it is within a poll, which continues afterwards.
    #[cfg(any(feature = "metrics", feature = "watchdog"))]
    is_nested: bool,
}

#[cfg(any(feature = "metrics", feature = "watchdog"))]
impl Stretch {
    /// A poll begins, at this instant if the clock was read.
    #[inline(always)]
    pub(crate) fn poll(start: Option<Instant>) -> Self {
        let is_nested = is_in_poll();
        yielded_at(start.map_or(UNTIMED, |start| start.as_nanos()));
        Self { is_nested }
    }

    /// A run loop begins to wait.
    #[inline(always)]
    pub(crate) fn wait() -> Self {
        let is_nested = is_in_poll();
        LAST_YIELD.store(IDLE, Ordering::Relaxed);
        Self { is_nested }
    }
}

#[cfg(not(any(feature = "metrics", feature = "watchdog")))]
impl Stretch {
    #[inline(always)]
    pub(crate) fn poll(_start: Option<Instant>) -> Self {
        Self {}
    }

    #[inline(always)]
    pub(crate) fn wait() -> Self {
        Self {}
    }
}

#[cfg(any(feature = "metrics", feature = "watchdog"))]
impl Drop for Stretch {
    #[inline(always)]
    fn drop(&mut self) {
        if self.is_nested {
            yielded_at(UNTIMED);
        } else {
            LAST_YIELD.store(IDLE, Ordering::Relaxed);
        }
    }
}

#[cfg(any(feature = "metrics", feature = "watchdog"))]
#[inline(always)]
fn is_in_poll() -> bool {
    LAST_YIELD.load(Ordering::Relaxed) != IDLE
}

#[cfg(any(feature = "metrics", feature = "watchdog"))]
#[inline(always)]
fn yielded_at(at: u64) {
    LAST_YIELD.store(at, Ordering::Relaxed);
    // The watchdog falls asleep in an interrupt of this vCPU that finds `IDLE`. So one before the
    // store has set the hook, and one after it does not set it. Only the compiler could reorder
    // the two.
    compiler_fence(Ordering::SeqCst);
    #[cfg(feature = "watchdog")]
    if ROUSE.is_set() {
        rouse();
    }
}

#[cfg(feature = "watchdog")]
#[cold]
#[inline(never)]
fn rouse() {
    ROUSE.call();
}

/// What the watchdog finds.
#[cfg(feature = "watchdog")]
pub(crate) enum Found {
    /// Nothing needs to yield.
    Idle,
    /// The code that runs has not yielded since this instant.
    NotSince(Instant),
}

/// Looks at what runs, for the watchdog's interrupt. If the last yield was not timed, it counts
/// from `now` on.
#[cfg(feature = "watchdog")]
pub(crate) fn look(now: Instant) -> Found {
    match LAST_YIELD.load(Ordering::Relaxed) {
        IDLE => Found::Idle,
        UNTIMED => {
            LAST_YIELD.store(now.as_nanos(), Ordering::Relaxed);
            Found::NotSince(now)
        }
        at => Found::NotSince(Instant::from_nanos(at)),
    }
}

/// Calls `hook` at the next poll, or when a loop that was called in a poll yields to it.
#[cfg(feature = "watchdog")]
pub(crate) fn sleep(hook: fn()) {
    ROUSE.set(hook);
}

/// The watchdog is awake.
#[cfg(feature = "watchdog")]
pub(crate) fn wake() {
    ROUSE.clear();
}

/// Returns the instant at which the code that runs last yielded to a run loop, as far as it is
/// known: for reports of what hangs.
///
/// Code yields when it returns from a poll, and when it calls a run loop of its own that polls or
/// waits. This is the beginning of the poll that is in progress, if that has called no other run
/// loop.
///
/// With the feature `metrics` it is exact for the tasks of an executor with a clock. With the
/// feature `watchdog` alone it is the first interrupt of a running watchdog after that moment.
/// `None` if no poll is in progress, if the innermost run loop waits, if nothing has timed it, and
/// without these features.
///
/// # Contexts
///
/// Any, NMI included. With run loops on several vCPUs, it is the last yield of them all.
///
/// # Examples
///
/// ```
/// use dormir::executor::last_yield;
///
/// assert_eq!(last_yield(), None, "no poll is in progress");
/// ```
#[must_use]
pub fn last_yield() -> Option<Instant> {
    #[cfg(any(feature = "metrics", feature = "watchdog"))]
    match LAST_YIELD.load(Ordering::Relaxed) {
        IDLE | UNTIMED => None,
        at => Some(Instant::from_nanos(at)),
    }
    #[cfg(not(any(feature = "metrics", feature = "watchdog")))]
    None
}
