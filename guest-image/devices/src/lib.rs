//! What several guests do with virtio devices.
#![no_std]
#![cfg(target_os = "none")]

extern crate alloc;

pub mod bus;
pub mod random;
pub mod tasks;

use alloc::boxed::Box;
use core::error::Error;

/// What a case fails with.
pub type Failure = Box<dyn Error>;
