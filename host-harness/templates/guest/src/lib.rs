//! What the guest does.
#![no_std]

use core::time::Duration;

use dormir::time::Timer;
use dormir_guest::println;

dormir::task! {
    /// Blinks every tenth of a second. Four of these tasks can exist at once: a static pool.
    pub async fn blink(times: u32) -> u32, pool = 4 {
        for _ in 0..times {
            Timer::after(Duration::from_millis(100)).await;
            println!("blink");
        }
        times
    }
}
