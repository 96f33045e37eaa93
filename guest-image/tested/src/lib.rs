//! A library with unit tests, each of which runs in a VM of its own.
#![no_std]
#![cfg_attr(test, no_main)]

#[cfg(test)]
dormir_guest::test_main!();

/// Returns the sum of the numbers up to `last`.
///
/// # Panics
///
/// If it does not fit into 32 bits.
#[must_use]
pub fn sum_to(last: u32) -> u32 {
    let sum = u64::from(last) * (u64::from(last) + 1) / 2;
    sum.try_into().expect("the sum has 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[dormir_guest::test]
    fn sums() {
        assert_eq!(sum_to(4), 10);
    }

    #[dormir_guest::test]
    #[should_panic(expected = "32 bits")]
    fn sums_are_limited() {
        let _ = sum_to(u32::MAX);
    }
}
