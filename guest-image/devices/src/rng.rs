//! The device of random bytes.

use alloc::vec;

use dormir_guest::console::report;
use dormir_virtio::{Interrupt, Transport, rng::Rng};

use crate::{Failure, error_of, tasks::join_all};

/// Fills arrays, which differ.
pub(crate) async fn fills<T: Transport, I: Interrupt>(rng: &Rng<T, I>) -> Result<(), Failure> {
    let (mut one, mut other) = ([0_u8; 5000], [0_u8; 5000]);
    rng.fill(&mut one).await?;
    rng.fill(&mut other).await?;
    // Of 5,000 random bytes, about 20 are equal.
    let equal = one.iter().zip(&other).filter(|(one, other)| one == other);
    let equal = equal.count();
    if equal > 100 {
        return Err(error_of("the bytes are not random"));
    }
    report("rng_equal_bytes", equal as u64);
    Ok(())
}

/// 100 requests at once, of which the queue has room for 8.
pub(crate) async fn many<T: Transport, I: Interrupt>(rng: &Rng<T, I>) -> Result<(), Failure> {
    let lengths = 1..=100_usize;
    let requests = lengths.map(|length| rng.request(vec![0; length].into()));
    for (buffer, written) in join_all(requests).await {
        let written = written?;
        if written == 0 || written > buffer.len() {
            return Err(error_of("a wrong length"));
        }
    }
    Ok(())
}
