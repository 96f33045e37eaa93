//! What the guest does: a task, and what it is made of.
#![no_std]
#![cfg_attr(test, no_main)]

use core::time::Duration;

use dormir::time::Timer;
use dormir_guest::println;

/// Blinks some times. Four of these tasks can exist at once: a static pool, no heap.
#[dormir_guest::task(pool_size = 4)]
pub async fn blink(times: u32, per_second: u32) -> u32 {
    for _ in 0..times {
        // The vCPU halts until the timer's interrupt.
        Timer::after(period(per_second)).await;
        println!("blink");
    }
    times
}

/// Returns the time from one blink to the next.
///
/// # Panics
///
/// The rate is 0.
pub fn period(per_second: u32) -> Duration {
    assert_ne!(per_second, 0, "at this rate nothing ever blinks");
    Duration::from_secs(1) / per_second
}

#[cfg(test)]
dormir_guest::test_main!();

#[cfg(test)]
mod tests {
    use super::*;

    #[dormir_guest::test]
    fn ten_a_second_are_a_tenth_of_a_second_apart() {
        assert_eq!(period(10), Duration::from_millis(100));
    }
}
