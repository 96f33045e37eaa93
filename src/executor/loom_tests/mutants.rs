//! Words that are changed wrongly: the models must find each.

use core::cell::Cell;

use super::{
    Two, TwoWords, ready_set::two_wakers, ready_set::two_wakers_and, run::wake_against_listening,
};
use crate::{
    executor::{Cpus, Shared},
    sync::atomic::{
        AtomicU64,
        Ordering::{AcqRel, Relaxed, Release},
    },
};

/// What is not said to be otherwise is as it should be.
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

// SAFETY: they break the contract, and that is what they are for. Nothing of what the models below
// do depends on it but what they assert.
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

/// Looks first, and writes only where the bit is clear.
#[derive(Clone, Copy)]
struct LooksFirst;

impl Mutant for LooksFirst {
    fn set(word: &AtomicU64, bit: u32) -> bool {
        word.load(Relaxed) & (1 << (bit % 64)) == 0 && Shared::set(word, bit)
    }
}

#[test]
#[should_panic = "what was written before a wake"]
fn a_wake_that_looks_first() {
    two_wakers::<Two, Wrong<LooksFirst>>([0, 0], 2);
}

/// The same above the tasks' words.
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
fn a_wake_that_looks_first_at_the_summary() {
    two_wakers::<TwoWords, Wrong<LooksAboveFirst>>([0, 1], 2);
}

/// Says that the bit was set.
#[derive(Clone, Copy)]
struct SaysSet;

impl Mutant for SaysSet {
    fn set(word: &AtomicU64, bit: u32) -> bool {
        Shared::set(word, bit);
        false
    }
}

#[test]
#[should_panic = "what was written before a wake"]
fn a_wake_without_the_summary() {
    two_wakers::<TwoWords, Wrong<SaysSet>>([0, 64], 2);
}

#[test]
#[should_panic = "exceeded maximum number of branches"]
fn a_wake_without_the_hook() {
    wake_against_listening(Wrong(SaysSet), true);
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

/// Clears without seeing what was written before the wake.
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

/// Sets without showing what was written before.
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

/// Raises a summary without showing what was set below.
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

/// Clears a bit only when the next one is cleared, or when the pass is over: after the visit, and
/// after the look at the word below.
#[derive(Clone, Copy)]
struct ClearsLate;

std::thread_local! {
    /// A bit that is to be cleared: the address of its word, and the bit.
    static LATE: Cell<Option<(*const AtomicU64, u32)>> = const { Cell::new(None) };
}

impl ClearsLate {
    fn clear_now() {
        if let Some((word, bit)) = LATE.take() {
            // SAFETY: the word is of the set whose pass this is, or whose pass has just ended.
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
fn a_pass_that_clears_after_looking_below() {
    two_wakers_and::<TwoWords, Wrong<ClearsLate>>([0, 1], 2, ClearsLate::clear_now);
}
