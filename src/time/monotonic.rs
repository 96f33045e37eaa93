//! A time that never goes back, from a counter that may.

use core::sync::atomic::{AtomicU64, Ordering};

/// Where the time begins, so far from zero that a counter which is set back does not wrap: what is
/// earlier than the start is below it.
const START: u64 = 1 << 62;
/// Where a jump ahead is not believed, however slow the counter: as far from the upper end.
const TOO_LATE: u64 = 3 << 62;
/// Nor where it would lead beyond what an `Instant` can say: 2^64 nanoseconds.
const TOO_LATE_SECONDS: u64 = u64::MAX / 1_000_000_000;

/// Makes a time, in a counter's ticks, that never goes back although the counter does.
///
/// The time is the counter plus an offset. The largest time that was shown is kept. A counter that is
/// less than a second behind it (two vCPUs' counters differ, or a processor reads it early) holds the
/// time there until it has caught up. One that is farther behind was set back, as when a snapshot is
/// restored: then the offset is changed, and the time goes on from where it was. A jump ahead is a jump of
/// the time; one of more than a minute is told of, as the counter may have been set ahead.
///
/// Any context may read it, also in the midst of another's reading.
pub(crate) struct Monotonic {
    /// The largest time that was shown.
    highest: AtomicU64,
    /// What is added to the counter; may be negative, so sums wrap.
    offset: AtomicU64,
    /// Ticks in a minute.
    minute: u64,
    /// Where a jump ahead is not believed.
    too_late: u64,
}

/// One look at the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Ticks since the start.
    pub(crate) elapsed: u64,
    /// How many ticks the counter has yet to count until the time moves again.
    pub(crate) held: u64,
    /// Whether the counter was set back or ahead, or may have been: nobody has read it for a minute.
    pub(crate) jumped: bool,
}

/// Who else may be reading the time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Whoever interrupts this vCPU. Of another vCPU that reads at the same moment, a larger time may
    /// be forgotten. Then the time can fall short of it by what the vCPUs' counters differ.
    ThisVcpu,
    /// Any vCPU: with locked instructions.
    AnyVcpu,
}

impl Monotonic {
    /// A time that starts now, when the counter shows `count` and counts `second` ticks in a second.
    pub(crate) const fn start(count: u64, second: u64) -> Self {
        let too_late = START.saturating_add(second.saturating_mul(TOO_LATE_SECONDS));
        Self {
            highest: AtomicU64::new(START),
            offset: AtomicU64::new(START.wrapping_sub(count)),
            minute: second.saturating_mul(60),
            too_late: if too_late < TOO_LATE {
                too_late
            } else {
                TOO_LATE
            },
        }
    }

    /// Ticks since the start, by what `counter` reads; `None` where it cannot be read, or where there is more
    /// to be done, which [`read`](Self::read) does. Short, since a clock is read often.
    #[inline(always)]
    pub(crate) fn usual(&self, counter: impl FnOnce() -> Option<u64>) -> Option<u64> {
        // The counter is read last. A reader who was away in between would otherwise find it far behind the
        // largest time, or add the new offset to what was counted before a step.
        let highest = self.highest.load(Ordering::Relaxed);
        let offset = self.offset.load(Ordering::Relaxed);
        let time = counter()?.wrapping_add(offset);
        let is_usual = !self.is_unusual(time, highest);
        // Who interrupted this and stored a later time has it kept.
        (is_usual && replace(&self.highest, highest, time, Readers::ThisVcpu)).then(|| time - START)
    }

    /// The time now, by what `counter` reads.
    pub(crate) fn read(&self, readers: Readers, mut counter: impl FnMut() -> u64) -> Reading {
        loop {
            // In this order, see `usual`.
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

    /// Whether the time is behind the largest one, or more than a minute ahead. (Without a sign, what is
    /// behind is far ahead.)
    #[inline(always)]
    fn is_unusual(&self, time: u64, highest: u64) -> bool {
        time.wrapping_sub(highest) > self.minute
    }

    /// What is shown when the counter is behind the largest time or far ahead of it; `None` if it is to be
    /// read again, because another reader has seen more.
    fn unusual(&self, readers: Readers, highest: u64, offset: u64, count: u64) -> Option<Reading> {
        let time = count.wrapping_add(offset);
        let (shown, held, jumped) = if (highest..self.too_late).contains(&time) {
            let first = replace(&self.highest, highest, time, readers);
            (first.then_some(time)?, 0, true)
        } else if time < highest && highest - time < self.minute / 60 {
            (highest, highest - time, false)
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

    /// The time at which the counter had this value, by the present offset.
    #[inline]
    pub(crate) fn at(&self, count: u64) -> u64 {
        let time = count.wrapping_add(self.offset.load(Ordering::Relaxed));
        time.saturating_sub(START)
    }
}

/// Stores `new` in place of `old`; says `false`, and changes nothing, if another value is there. No
/// interrupt comes in the midst of it.
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
