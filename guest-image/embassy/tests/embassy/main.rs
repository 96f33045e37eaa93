//! Embassy's crates on dormir's executor: embassy-time, embassy-sync, embassy-futures.
//!
//! A deadline may be late by as long as the vCPU is descheduled, but never early.
#![no_std]
#![no_main]

extern crate alloc;

mod sync;
mod timers;
mod wakers;

use dormir::{
    executor::{Executor, Shared, Spawner, Up4096},
    idle::Halt,
};

dormir_guest::test_main!();

static EXECUTOR: Executor<Up4096> = Executor::new(Shared);

/// Runs what `spawn` spawns until every task has ended.
fn run(spawn: impl FnOnce(Spawner)) {
    let mut runner = EXECUTOR.enter().expect("there is no other runner");
    spawn(runner.spawner());
    runner.run(Halt);
}
