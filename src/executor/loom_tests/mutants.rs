//! Implementations of [`Cpus`] that are wrong: the models must find each mistake.

use core::cell::Cell;

use super::{
    Two, TwoWords, ready_set::two_wakers, ready_set::two_wakers_and,
    run::wake_against_a_hooked_loop,
};
use crate::{
    executor::{Cpus, Shared},
    sync::atomic::{
        AtomicU64,
        Ordering::{AcqRel, Relaxed, Release},
    },
};

/// An implementation that is correct except for what it overrides.
trait Mutant: Copy + Send + Sync + 'static {
    fn set(word: &AtomicU64, bit: u32) -> bool {
        Shared::set(word, bit)
    }

    fn raise(word: &AtomicU64, mask: u64) {
        Shared::raise(word, mask);
    }

    fn clear(word: &AtomicU64, bit: u32) {
        Shared::clear(word, bit);
    }
}

#[derive(Clone, Copy)]
struct Wrong<T>(T);

// SAFETY: these break the contract on purpose. In the models below, only assertions depend on it.
unsafe impl<T: Mutant> Cpus for Wrong<T> {
    fn set(word: &AtomicU64, bit: u32) -> bool {
        T::set(word, bit)
    }

    fn raise(word: &AtomicU64, mask: u64) {
        T::raise(word, mask);
    }

    fn clear(word: &AtomicU64, bit: u32) {
        T::clear(word, bit);
    }
}

/// Loads first, and writes only if the bit is clear.
#[derive(Clone, Copy)]
struct LooksFirst;

impl Mutant for LooksFirst {
    fn set(word: &AtomicU64, bit: u32) -> bool {
        word.load(Relaxed) & (1 << (bit % 64)) == 0 && Shared::set(word, bit)
    }
}

#[test]
#[should_panic = "what was written before a wake"]
fn a_wake_that_loads_first() {
    two_wakers::<Two, Wrong<LooksFirst>>([0, 0], 2);
}

/// The same for summary words.
#[derive(Clone, Copy)]
struct LooksAboveFirst;

impl Mutant for LooksAboveFirst {
    fn raise(word: &AtomicU64, mask: u64) {
        if word.load(Relaxed) & mask == 0 {
            Shared::raise(word, mask);
        }
    }
}

#[test]
#[should_panic = "what was written before a wake"]
fn a_wake_that_loads_the_summary_first() {
    two_wakers::<TwoWords, Wrong<LooksAboveFirst>>([0, 1], 2);
}

/// Returns that the bit was set, even if it was not.
#[derive(Clone, Copy)]
struct ReturnsSet;

impl Mutant for ReturnsSet {
    fn set(word: &AtomicU64, bit: u32) -> bool {
        Shared::set(word, bit);
        false
    }
}

#[test]
#[should_panic = "what was written before a wake"]
fn a_wake_without_the_summary() {
    two_wakers::<TwoWords, Wrong<ReturnsSet>>([0, 64], 2);
}

#[test]
#[should_panic = "exceeded maximum number of branches"]
fn a_wake_without_the_hook() {
    wake_against_a_hooked_loop(Wrong(ReturnsSet), true);
}

/// Sets in two steps.
#[derive(Clone, Copy)]
struct SetsInSteps;

impl Mutant for SetsInSteps {
    fn set(word: &AtomicU64, bit: u32) -> bool {
        let before = word.load(Relaxed);
        word.store(before | 1 << (bit % 64), Release);
        before & 1 << (bit % 64) == 0
    }
}

#[test]
#[should_panic = "what was written before a wake"]
fn a_wake_in_two_steps() {
    two_wakers::<Two, Wrong<SetsInSteps>>([0, 1], 2);
}

/// Clears in two steps.
#[derive(Clone, Copy)]
struct ClearsInSteps;

impl Mutant for ClearsInSteps {
    fn clear(word: &AtomicU64, bit: u32) {
        let before = word.load(Relaxed);
        word.store(before & !(1 << bit), Release);
    }
}

#[test]
#[should_panic = "what was written before a wake"]
fn a_pass_that_clears_in_two_steps() {
    two_wakers::<Two, Wrong<ClearsInSteps>>([0, 1], 2);
}

/// Clears without acquiring what was written before the wake.
#[derive(Clone, Copy)]
struct ClearsRelaxed;

impl Mutant for ClearsRelaxed {
    fn clear(word: &AtomicU64, bit: u32) {
        word.fetch_and(!(1 << bit), Relaxed);
    }
}

#[test]
#[should_panic = "what was written before a wake"]
fn a_pass_that_does_not_acquire() {
    two_wakers::<Two, Wrong<ClearsRelaxed>>([0, 1], 2);
}

/// Sets without releasing what was written before.
#[derive(Clone, Copy)]
struct SetsRelaxed;

impl Mutant for SetsRelaxed {
    fn set(word: &AtomicU64, bit: u32) -> bool {
        let mask = 1 << (bit % 64);
        word.fetch_or(mask, Relaxed) & mask == 0
    }
}

#[test]
#[should_panic = "what was written before a wake"]
fn a_wake_that_does_not_release() {
    two_wakers::<Two, Wrong<SetsRelaxed>>([0, 1], 2);
}

/// Raises a summary without releasing what was set below.
#[derive(Clone, Copy)]
struct RaisesRelaxed;

impl Mutant for RaisesRelaxed {
    fn raise(word: &AtomicU64, mask: u64) {
        word.fetch_or(mask, Relaxed);
    }
}

#[test]
#[should_panic = "what was written before a wake"]
fn a_wake_that_does_not_release_the_summary() {
    two_wakers::<TwoWords, Wrong<RaisesRelaxed>>([0, 1], 2);
}

/// Clears a bit only when the next one is cleared, or at the end of the pass: after the visit, and
/// after the word below was read.
#[derive(Clone, Copy)]
struct ClearsLate;

std::thread_local! {
    /// A bit that has yet to be cleared: the address of its word, and the bit.
    static LATE: Cell<Option<(*const AtomicU64, u32)>> = const { Cell::new(None) };
}

impl ClearsLate {
    fn clear_now() {
        if let Some((word, bit)) = LATE.take() {
            // SAFETY: the word belongs to the set whose pass is going on, or has just ended.
            unsafe { &*word }.fetch_and(!(1 << bit), AcqRel);
        }
    }
}

impl Mutant for ClearsLate {
    fn clear(word: &AtomicU64, bit: u32) {
        Self::clear_now();
        LATE.set(Some((word, bit)));
    }
}

#[test]
#[should_panic = "what was written before a wake"]
fn a_pass_that_clears_after_the_visit() {
    two_wakers_and::<Two, Wrong<ClearsLate>>([0, 1], 2, ClearsLate::clear_now);
}

#[test]
#[should_panic = "what was written before a wake"]
fn a_pass_that_clears_after_reading_the_word_below() {
    two_wakers_and::<TwoWords, Wrong<ClearsLate>>([0, 1], 2, ClearsLate::clear_now);
}
