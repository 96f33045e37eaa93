//! Mutants of `Cpus`: ways to change the words of a ready set, each with one mistake that the sweep
//! must catch.

use core::{
    arch::asm,
    ptr,
    sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
};

use dormir::executor::{Cpus, SingleVcpu};
use x86_64::instructions::interrupts;

/// The difference between a mutant and [`SingleVcpu`].
pub(crate) trait Mistake: Copy + Send + Sync + 'static {
    fn set(word: &AtomicU64, bit: u32) -> bool {
        SingleVcpu::set(word, bit)
    }

    fn raise(word: &AtomicU64, mask: u64) {
        SingleVcpu::raise(word, mask);
    }

    fn clear(word: &AtomicU64, bit: u32) {
        SingleVcpu::clear(word, bit);
    }
}

/// [`SingleVcpu`] with a mistake.
#[derive(Clone, Copy)]
pub(crate) struct With<M>(pub(crate) M);

// SAFETY: a mutant breaks the trait's promise on purpose. The consequence is a lost wake.
unsafe impl<M: Mistake> Cpus for With<M> {
    #[inline(always)]
    fn set(word: &AtomicU64, bit: u32) -> bool {
        M::set(word, bit)
    }

    #[inline(always)]
    fn raise(word: &AtomicU64, mask: u64) {
        M::raise(word, mask);
    }

    #[inline(always)]
    fn clear(word: &AtomicU64, bit: u32) {
        M::clear(word, bit);
    }
}

/// Loads, changes, stores: a bit that a handler sets between load and store is overwritten.
macro_rules! in_three {
    ($change:literal, $word:expr, $operand:expr) => {
        // SAFETY: reads and writes a live atomic. There is no `nomem`, so no memory access moves
        // across.
        unsafe {
            asm!(
                "mov {value}, qword ptr [{word}]",
                $change,
                "mov qword ptr [{word}], {value}",
                value = out(reg) _,
                word = in(reg) $word.as_ptr(),
                operand = in(reg) $operand,
                options(nostack),
            )
        }
    };
}

/// Clears a bit in three instructions: a wake of another task in the word, or below it, is
/// overwritten.
#[derive(Clone, Copy)]
pub(crate) struct ClearInThree;

impl Mistake for ClearInThree {
    #[inline(always)]
    fn clear(word: &AtomicU64, bit: u32) {
        in_three!("btr {value}, {operand}", word, u64::from(bit));
    }
}

/// Sets a task's bit in three instructions: a wake of another task in the word is overwritten.
#[derive(Clone, Copy)]
pub(crate) struct SetInThree;

impl Mistake for SetInThree {
    #[inline(always)]
    fn set(word: &AtomicU64, bit: u32) -> bool {
        in_three!("bts {value}, {operand}", word, u64::from(bit % 64));
        true
    }
}

/// Sets a summary bit in three instructions: a wake of a task in another word is overwritten.
#[derive(Clone, Copy)]
pub(crate) struct RaiseInThree;

impl Mistake for RaiseInThree {
    #[inline(always)]
    fn raise(word: &AtomicU64, mask: u64) {
        in_three!("or {value}, {operand}", word, mask);
    }
}

/// Sets no summary bit in handlers, where interrupts are masked.
#[derive(Clone, Copy)]
pub(crate) struct RaiseNotInHandlers;

impl Mistake for RaiseNotInHandlers {
    #[inline(always)]
    fn raise(word: &AtomicU64, mask: u64) {
        if interrupts::are_enabled() {
            SingleVcpu::raise(word, mask);
        }
    }
}

/// Assumes that the summary bit of a non-empty word is set. It is not set between the clear of the
/// summary bit and that of the word's last bit.
#[derive(Clone, Copy)]
pub(crate) struct RaiseIfWordWasEmpty;

impl Mistake for RaiseIfWordWasEmpty {
    #[inline(always)]
    fn set(word: &AtomicU64, bit: u32) -> bool {
        word.fetch_or(1 << (bit % 64), Ordering::AcqRel) == 0
    }
}

/// Clears a task's bit after the poll, and a summary bit after the check of the word below it: a
/// wake in between is cleared with them.
#[derive(Clone, Copy)]
pub(crate) struct ClearLate;

/// The bit that [`ClearLate`] still has to clear; null for none.
static LATE_WORD: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
static LATE_BIT: AtomicU32 = AtomicU32::new(0);

impl Mistake for ClearLate {
    #[inline(always)]
    fn clear(word: &AtomicU64, bit: u32) {
        // The pass checks the word below before it clears a bit there.
        after_poll();
        LATE_BIT.store(bit, Ordering::Relaxed);
        LATE_WORD.store(ptr::from_ref(word).cast_mut(), Ordering::Relaxed);
    }
}

/// Tasks call this at the end of each poll, since [`Cpus`] is not told when a visit ends.
#[inline(always)]
pub(crate) fn after_poll() {
    let word = LATE_WORD.load(Ordering::Relaxed);
    if !word.is_null() {
        LATE_WORD.store(ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: not null, so `clear` has stored the address of a word of a static ready set.
        let word = unsafe { &*word };
        SingleVcpu::clear(word, LATE_BIT.load(Ordering::Relaxed));
    }
}
