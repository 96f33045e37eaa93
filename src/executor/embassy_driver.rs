//! The driver of `embassy-time`. It is here and not in [`time::embassy`](crate::time::embassy),
//! since only the executor knows which task a waker belongs to.

use core::task::Waker;

use embassy_time_driver::Driver;

use super::{block_on, current};
use crate::time::embassy;

struct GlobalDriver;

embassy_time_driver::time_driver_impl!(static DRIVER: GlobalDriver = GlobalDriver);

impl Driver for GlobalDriver {
    fn now(&self) -> u64 {
        embassy::now()
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        let deadline_slot_of = |waker: &_| {
            current::deadline_slot_of(waker).or_else(|| block_on::deadline_slot_of(waker))
        };
        // SAFETY: `deadline_slot_of` returns slots of tasks and of `block_on`'s futures. Their wakers are
        // this library's, and only `time::embassy` uses the slots.
        unsafe { embassy::schedule_wake(at, waker, deadline_slot_of) };
    }
}
