//! The stack has the size that build.rs sets.

use core::hint::black_box;

/// More than the usual stack, less than this program's.
const LARGE: usize = 3 << 20;

pub(crate) fn check() {
    let large = black_box([1_u8; LARGE]);
    let sum: u64 = large.iter().map(|&byte| u64::from(byte)).sum();
    assert_eq!(sum, LARGE as u64);
}
