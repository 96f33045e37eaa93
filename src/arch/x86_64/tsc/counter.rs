//! The counter itself.

use core::arch::x86_64::_rdtsc;

/// Reads the time-stamp counter.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::arch::x86_64::tsc;
///
/// # let work = || core::hint::black_box(1);
/// let start = tsc::read();
/// work();
/// dormir_guest::println!("the work took {} ticks", tsc::read() - start);
/// ```
#[must_use]
#[inline]
pub fn read() -> u64 {
    // SAFETY: every x86-64 processor has RDTSC, and ring 0 may always execute it.
    unsafe { _rdtsc() }
}
