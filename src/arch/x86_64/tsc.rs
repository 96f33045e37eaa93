//! The time-stamp counter (TSC), its frequency, and the clock that counts by it.

mod clock;
mod counter;
mod frequency;
mod pvclock;

pub use clock::{ClockSource, TscClock};
pub use counter::read;
pub use frequency::{FrequencySource, find_frequency};
