//! Requests for random bytes.

use alloc::vec;

use dormir::time::Instant;
use dormir_virtio::{Interrupt, Transport, rng::Rng};

use super::{Counts, Random, random::maybe_drop};
use crate::{Failure, error_of};

/// The longest request, in bytes.
const MOST: u64 = 64;

/// Makes requests.
pub(super) async fn work<T: Transport, I: Interrupt>(
    rng: &Rng<T, I>,
    requests: u64,
    end: Instant,
    mut random: Random,
) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    while counts.made < requests && Instant::now() < end {
        let length = random.below(MOST) as usize + 1;
        counts.made += 1;
        let request = rng.request(vec![0; length].into());
        let Some((buffer, written)) = maybe_drop(&mut random, request).await else {
            counts.dropped += 1;
            continue;
        };
        let written = written?;
        if buffer.len() != length || written > length {
            return Err(error_of(
                "the device of random bytes reports a wrong length",
            ));
        }
        let (bytes, rest) = buffer.split_at(written);
        // 16 random bytes are hardly ever all zeros.
        let is_random = written < 16 || bytes.iter().any(|byte| *byte != 0);
        if !is_random || rest.iter().any(|byte| *byte != 0) {
            return Err(error_of("what the device of random bytes wrote is wrong"));
        }
    }
    Ok(counts)
}
