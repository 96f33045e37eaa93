//! Counts instructions.

use core::arch::asm;

/// Counts the instructions of a piece of code: with `-icount shift=0`, the TSC counts each as one.
#[derive(Debug)]
pub struct Stopwatch {
    /// What two consecutive stamps count with nothing between them.
    own_cost: u64,
}

impl Stopwatch {
    /// Makes a stopwatch that has measured its own cost.
    pub fn calibrated() -> Self {
        let raw = Self { own_cost: 0 };
        let own_cost = raw.count(|| {});
        Self { own_cost }
    }

    /// Counts the instructions of `work`.
    #[inline(always)]
    pub fn count(&self, work: impl FnOnce()) -> u64 {
        let start = stamp();
        work();
        self.between(start, stamp())
    }

    /// Returns the number of instructions between two stamps.
    #[inline(always)]
    pub fn between(&self, start: u64, end: u64) -> u64 {
        end - start - self.own_cost
    }
}

/// Reads the TSC, always by the same three instructions.
#[inline(always)]
pub fn stamp() -> u64 {
    let stamp;
    // SAFETY: every x86-64 processor has RDTSC. The block has no `nomem`, so the compiler moves no
    // memory access across it.
    unsafe {
        asm!(
            "rdtsc",
            "shl rdx, 32",
            "or rax, rdx",
            out("rax") stamp,
            out("rdx") _,
            options(nostack),
        );
    }
    stamp
}
