//! The device of random bytes.

use alloc::vec;

use dormir::time::Instant;
use dormir_guest::{console::report, heap};
use dormir_virtio::{Interrupt, Transport, rng::Rng};

use crate::{
    DROPPING, Failure, error_of,
    tasks::{join_all, start_and_drop},
};

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

/// Drops each of many requests while it is in flight. (A device that answers at once leaves few.)
/// Nothing is lost: the heap has as much memory afterwards as before.
pub(crate) async fn drops<T: Transport, I: Interrupt>(
    rng: &Rng<T, I>,
    drops: u64,
) -> Result<(), Failure> {
    settle(rng).await?;
    let before = heap::used();
    let mut dropped = 0;
    let end = Instant::now().saturating_add(DROPPING);
    while dropped < drops && Instant::now() < end {
        // With one that is waited for, the queue has room for them, so each is in flight.
        for _ in 0..7 {
            let request = rng.request(vec![0; 64].into());
            dropped += u64::from(start_and_drop(request).await);
        }
        let (_, written) = rng.request(vec![0; 64].into()).await;
        written?;
    }
    settle(rng).await?;
    report("rng_dropped", dropped);
    if heap::used() > before {
        return Err(error_of("buffers of dropped requests were not freed"));
    }
    Ok(())
}

/// Has as many requests answered as the queue has room for, so that none from before is left.
async fn settle<T: Transport, I: Interrupt>(rng: &Rng<T, I>) -> Result<(), Failure> {
    for _ in 0..2 {
        let requests = (0..8).map(|_| rng.request(vec![0; 8].into()));
        for (_, written) in join_all(requests).await {
            written?;
        }
    }
    Ok(())
}
