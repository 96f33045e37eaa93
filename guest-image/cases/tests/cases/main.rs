//! What only a machine can show of the library: interrupts, timers, halts.
//!
//! Other tests of such kinds are driven by the host: bad ends, the sweeps, the clock's drift.
#![no_std]
#![no_main]

extern crate alloc;

mod device;
mod device_interrupts;
mod device_memory;
mod events;
mod executor;
mod idling;
mod interrupts;
mod probes;
mod regressions;
mod serial;
mod sleepers;
mod timers;
mod vectors;
mod wakers;

dormir_guest::test_main!();
