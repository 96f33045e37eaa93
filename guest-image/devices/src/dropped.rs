//! Requests for random bytes, of which each is dropped while the device has it. Their buffers must
//! be freed: when the device gives them back, and when the driver is dropped before that.

use alloc::{boxed::Box, vec};
use core::time::Duration;

use dormir::time::Instant;
use dormir_guest::{console::report, heap};
use dormir_virtio::{Attached, DeviceType, Interrupt, RequestError, Transport, rng::Rng};

use crate::{Failure, bus::Found, error_of, tasks::poll_once};

/// As many requests as the queue has room for, so that the device gets each at its first poll.
const AT_ONCE: u64 = 8;

/// The bytes of a buffer: more than the driver's own tables may grow meanwhile.
const LENGTH: usize = 1024;

/// Makes requests of each device of random bytes until so many were dropped in flight, or this time
/// is over, and returns how many such devices there are.
pub(crate) async fn run(
    devices: &[impl Found],
    wanted: u64,
    limit: Duration,
) -> Result<usize, Failure> {
    let mut ran = 0;
    for device in devices {
        let Some(attached) = device.attach()? else {
            continue;
        };
        if attached.device_type() == DeviceType::EntropySource {
            drop_each(attached, wanted, limit).await?;
            ran += 1;
        }
    }
    Ok(ran)
}

async fn drop_each<T: Transport, I: Interrupt>(
    attached: Attached<T, I>,
    wanted: u64,
    limit: Duration,
) -> Result<(), Failure> {
    let end = Instant::now().saturating_add(limit);
    let before = heap::used();
    let rng = Rng::new(attached)?;
    let idle = heap::used();
    let (mut made, mut in_flight) = (0, 0);
    while in_flight < wanted && Instant::now() < end {
        made += AT_ONCE;
        in_flight += drop_some(&rng).await?;
        // The device serves them in their order, so that this one comes back after those.
        let (buffer, written) = rng.request(buffer()).await;
        written?;
        drop(buffer);
        if heap::used() >= idle + LENGTH {
            return Err(error_of("a buffer that has come back was not freed"));
        }
    }
    // The device has these when it is reset.
    made += AT_ONCE;
    in_flight += drop_some(&rng).await?;
    drop(rng);
    if heap::used() > before {
        return Err(error_of("the driver was dropped, and not all its buffers"));
    }
    report("dropped_made", made);
    report("dropped_in_flight", in_flight);
    Ok(())
}

/// Makes requests and drops each after its first poll. Returns how many were in flight then: the
/// others had ended.
async fn drop_some<T: Transport, I: Interrupt>(rng: &Rng<T, I>) -> Result<u64, RequestError> {
    let mut in_flight = 0;
    for _ in 0..AT_ONCE {
        match poll_once(rng.request(buffer())).await {
            Some((_, written)) => drop(written?),
            None => in_flight += 1,
        }
    }
    Ok(in_flight)
}

fn buffer() -> Box<[u8]> {
    vec![0; LENGTH].into()
}
