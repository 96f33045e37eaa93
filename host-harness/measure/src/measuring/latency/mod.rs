//! How late a task is polled.

pub(crate) mod collect;
pub mod plan;
pub(crate) mod reading;
pub mod stamps;
