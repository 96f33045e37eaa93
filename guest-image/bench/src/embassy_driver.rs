//! A time driver for embassy-time, with the queue that is integrated into the tasks of embassy-executor. It
//! does what those of embassy's hardware crates do, on any clock and alarm.

use core::{cell::RefCell, task::Waker};

use critical_section::Mutex;
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

/// What a hardware crate knows of its machine.
pub trait Hardware {
    /// The time in nanoseconds.
    fn now(&self) -> u64;

    /// Sets the alarm. Whether `at` is still to come: one that has passed meanwhile may give no interrupt.
    fn set_alarm(&self, at: u64) -> bool;
}

/// The driver.
pub struct AlarmDriver<H> {
    hardware: H,
    queue: Mutex<RefCell<Queue>>,
}

impl<H: Hardware> AlarmDriver<H> {
    /// A driver without timers.
    pub const fn new(hardware: H) -> Self {
        Self {
            hardware,
            queue: Mutex::new(RefCell::new(Queue::new())),
        }
    }

    /// The handler of the alarm's interrupt.
    #[inline]
    pub fn on_alarm(&self) {
        critical_section::with(|cs| self.set_alarm(&mut self.queue.borrow_ref_mut(cs)));
    }

    /// Wakes what is due, and sets the alarm. What has passed meanwhile is due too.
    #[inline]
    fn set_alarm(&self, queue: &mut Queue) {
        loop {
            let next = queue.next_expiration(self.hardware.now());
            if self.hardware.set_alarm(next) {
                break;
            }
        }
    }
}

impl<H: Hardware + Send + Sync + 'static> Driver for AlarmDriver<H> {
    #[inline]
    fn now(&self) -> u64 {
        self.hardware.now()
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|cs| {
            let mut queue = self.queue.borrow_ref_mut(cs);
            if queue.schedule_wake(at, waker) {
                self.set_alarm(&mut queue);
            }
        });
    }
}
