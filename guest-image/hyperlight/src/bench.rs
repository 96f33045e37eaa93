//! The guest functions that `cargo vm bench --hyperlight` calls.

use core::time::Duration;

use alloc::vec::Vec;
use dormir::{
    hyperlight,
    time::{Instant, Timer},
};
use hyperlight_guest::error::HyperlightGuestError;
use hyperlight_guest_bin::{guest_function, host_comm::call_host};

/// Calls the host's wait function `count` times, without the executor; each call returns at once,
/// since the host does not understand an empty batch.
#[guest_function]
fn host_calls(count: u64) -> Result<(), HyperlightGuestError> {
    for _ in 0..count {
        call_host::<Vec<u8>>("dormir_wait", (Vec::<u8>::new(),))?;
    }
    Ok(())
}

/// Runs a task that sleeps `count` times. Returns how often the timer ticked meanwhile.
#[guest_function]
fn sleeps(count: u64, micros: u64) -> Result<u64, HyperlightGuestError> {
    let before = hyperlight::ticks();
    hyperlight::block_on(async {
        for _ in 0..count {
            Timer::after(Duration::from_micros(micros)).await;
        }
    })?;
    Ok(hyperlight::ticks() - before)
}

/// Runs `count` sleeps. Returns by how many nanoseconds of the guest's clock each was too long, as
/// little-endian words of eight bytes.
///
/// A random part of `spread` microseconds passes before each: otherwise each sleep would begin just
/// after a tick.
#[guest_function]
fn oversleeps(
    micros: u64,
    count: u64,
    spread: u64,
    seed: u64,
) -> Result<Vec<u8>, HyperlightGuestError> {
    let mut random = seed | 1;
    let late = hyperlight::block_on(async {
        let mut late = Vec::with_capacity(8 * count as usize);
        for _ in 0..count {
            random = next_random(random);
            let begin =
                Instant::now().saturating_add(Duration::from_nanos(random % (spread * 1000)));
            while Instant::now() < begin {
                core::hint::spin_loop();
            }
            let until = Instant::now().saturating_add(Duration::from_micros(micros));
            Timer::at(until).await;
            let nanos = Instant::now().saturating_duration_since(until).as_nanos() as u64;
            late.extend(nanos.to_le_bytes());
        }
        late
    })?;
    Ok(late)
}

/// Returns the next pseudo-random number (Marsaglia's xorshift).
fn next_random(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ state << 17
}
