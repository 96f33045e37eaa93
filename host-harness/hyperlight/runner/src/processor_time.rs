//! The processor time that a call takes.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Returns the result of `call`, and the processor time that it took in all threads of this
/// process: the vCPU's and Hyperlight's timer's.
pub(crate) fn charged<T, E>(call: impl FnOnce() -> Result<T, E>) -> Result<(T, Duration), E> {
    let start = processor_time();
    let value = call()?;
    Ok((value, processor_time().saturating_sub(start)))
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}
