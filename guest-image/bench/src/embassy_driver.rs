//! A time driver for embassy-time that uses the queue integrated into embassy-executor's tasks. It
//! does what the drivers of embassy's hardware crates do, on any clock and alarm.

use core::{cell::RefCell, task::Waker};

use critical_section::Mutex;
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

/// The clock and the alarm of a machine, which a hardware crate provides.
pub trait Hardware {
    /// Returns the time in nanoseconds.
    fn now(&self) -> u64;

    /// Sets the alarm, and returns whether `at` is still in the future. If it has passed meanwhile,
    /// the interrupt may not come.
    fn set_alarm(&self, at: u64) -> bool;
}

/// The time driver.
#[expect(missing_debug_implementations, reason = "embassy's queue has none")]
pub struct AlarmDriver<H> {
    hardware: H,
    queue: Mutex<RefCell<Queue>>,
}

impl<H: Hardware> AlarmDriver<H> {
    /// Makes a driver without timers.
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

    /// Wakes the tasks whose timers are due, and sets the alarm; repeats if a deadline has passed
    /// meanwhile.
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
