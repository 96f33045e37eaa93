//! A time that never goes back, from a counter that may go back.

use core::sync::atomic::{AtomicU64, Ordering};

/// The start of the time, so far from zero that a counter which is set back does not wrap: earlier
/// times are below it.
const START: u64 = 1 << 62;
/// A jump ahead to this value is not believed, however slow the counter: it is as far from the
/// upper end.
const TOO_LATE: u64 = 3 << 62;
/// Nor is a jump beyond the range of an `Instant`: 2^64 nanoseconds.
const TOO_LATE_SECONDS: u64 = u64::MAX / 1_000_000_000;

/// A time in a counter's ticks that never goes back, although the counter may.
///
/// The time is the counter plus an offset. The highest time that was returned is kept. A counter
/// that is less than a second behind it (two vCPUs' counters differ, or a processor reads it early)
/// holds the time there until it has caught up. A counter that is farther behind was set back, as
/// when a snapshot is restored: then the offset changes, and the time goes on from where it was. If
/// the counter jumps ahead, so does the time; a jump of more than a minute is reported, as the
/// counter may have been set ahead.
///
/// Any context may read it, also during the read of another.
pub(crate) struct Monotonic {
    /// The highest time that was returned.
    highest: AtomicU64,
    /// Added to the counter; may be negative, so sums wrap.
    offset: AtomicU64,
    /// Ticks in a minute.
    minute: u64,
    /// The time from which on a jump ahead is not believed.
    too_late: u64,
}

/// One read of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Ticks since the start.
    pub(crate) elapsed: u64,
    /// The ticks that the counter must still count until the time moves again.
    pub(crate) held: u64,
    /// Whether the counter was set back or ahead, or may have been: it was not read for a minute.
    pub(crate) jumped: bool,
}

/// Other contexts that may read the time at once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Contexts that interrupt this vCPU. If another vCPU reads at the same moment, its higher time
    /// may be forgotten. Then the time can go back by the difference of the vCPUs' counters.
    ThisVcpu,
    /// Any vCPU: uses locked instructions.
    AnyVcpu,
}

impl Monotonic {
    /// A time that starts now, with the counter at `count` and `second` ticks in a second.
    pub(crate) const fn start(count: u64, second: u64) -> Self {
        let too_late = START.saturating_add(second.saturating_mul(TOO_LATE_SECONDS));
        Self {
            highest: AtomicU64::new(START),
            offset: AtomicU64::new(START.wrapping_sub(count)),
            minute: second.saturating_mul(60),
            too_late: match too_late {
                ..TOO_LATE => too_late,
                _ => TOO_LATE,
            },
        }
    }

    /// Returns the ticks since the start, by `counter`. `None` if that cannot be read, or in an
    /// unusual case, which [`read`](Self::read) handles. Short, since clocks are read often.
    #[inline(always)]
    pub(crate) fn usual(&self, counter: impl FnOnce() -> Option<u64>) -> Option<u64> {
        // The counter is read last. Otherwise a reader that was interrupted in between would find
        // it far behind the highest time, or add a new offset to an old count.
        let highest = self.highest.load(Ordering::Relaxed);
        let offset = self.offset.load(Ordering::Relaxed);
        let time = counter()?.wrapping_add(offset);
        let is_usual = !self.is_unusual(time, highest);
        // If an interrupting reader has stored a later time, that is kept.
        (is_usual && replace(&self.highest, highest, time, Readers::ThisVcpu)).then(|| time - START)
    }

    /// The time now, by `counter`.
    pub(crate) fn read(&self, readers: Readers, mut counter: impl FnMut() -> u64) -> Reading {
        loop {
            // For the order, see `usual`.
            let highest = self.highest.load(Ordering::Relaxed);
            let offset = self.offset.load(Ordering::Relaxed);
            let count = counter();
            let time = count.wrapping_add(offset);
            if self.is_unusual(time, highest) {
                if let Some(reading) = self.unusual(readers, highest, offset, count) {
                    return reading;
                }
            } else if replace(&self.highest, highest, time, readers) {
                return Reading {
                    elapsed: time - START,
                    held: 0,
                    jumped: false,
                };
            }
        }
    }

    /// Whether the time is behind the highest one, or more than a minute ahead. (The difference is
    /// unsigned: a time that is behind counts as far ahead.)
    #[inline(always)]
    fn is_unusual(&self, time: u64, highest: u64) -> bool {
        time.wrapping_sub(highest) > self.minute
    }

    /// The reading when the counter is behind the highest time or far ahead of it; `None` if
    /// another reader has stored a later time, so that the counter must be read again.
    fn unusual(&self, readers: Readers, highest: u64, offset: u64, count: u64) -> Option<Reading> {
        let time = count.wrapping_add(offset);
        let (shown, held, jumped) = if (highest..self.too_late).contains(&time) {
            let first = replace(&self.highest, highest, time, readers);
            (first.then_some(time)?, 0, true)
        } else if let Some(behind) = highest.checked_sub(time)
            && behind < self.minute / 60
        {
            (highest, behind, false)
        } else {
            let goes_on = highest.wrapping_sub(count);
            let first = replace(&self.offset, offset, goes_on, readers);
            (first.then_some(highest)?, 0, true)
        };
        Some(Reading {
            elapsed: shown - START,
            held,
            jumped,
        })
    }

    /// The time at which the counter had this value, by the current offset.
    #[inline]
    pub(crate) fn at(&self, count: u64) -> u64 {
        let time = count.wrapping_add(self.offset.load(Ordering::Relaxed));
        time.saturating_sub(START)
    }
}

/// Stores `new` in place of `old`; returns `false`, and changes nothing, if there is another value.
/// An interrupt cannot split it.
#[inline(always)]
fn replace(word: &AtomicU64, old: u64, new: u64, readers: Readers) -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "none"))]
    if readers == Readers::ThisVcpu {
        let found: u64;
        // SAFETY: one access to a live atomic. Not `nomem`: the compiler moves no access across.
        unsafe {
            core::arch::asm!(
                "cmpxchg qword ptr [{word}], {new}",
                word = in(reg) word.as_ptr(),
                new = in(reg) new,
                inout("rax") old => found,
                options(nostack),
            );
        }
        return old == found;
    }
    let _ = readers;
    word.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed)
        .is_ok()
}

#[cfg(test)]
mod queue_tests;
#[cfg(test)]
mod tests;
