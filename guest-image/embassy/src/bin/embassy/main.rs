//! Embassy's crates on dormir's executor: embassy-time, embassy-sync, embassy-futures.
//!
//! Each part asserts its results. A deadline may be late by as long as the vCPU is descheduled, but
//! never early.
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
use dormir_guest::println;

dormir_guest::entry!(main);

static EXECUTOR: Executor<Up4096> = Executor::new(Shared);

type Part = (&'static str, fn(Spawner));

/// Each part runs until its tasks have completed.
const PARTS: &[Part] = &[
    ("timers", timers::spawn),
    ("channel, signal, mutex", sync::spawn),
    ("many tasks", wakers::spawn_many),
    ("many wakers in one task", wakers::spawn_one),
    ("more wakers than entries", wakers::spawn_too_many),
];

fn main() {
    let mut runner = EXECUTOR.enter().expect("there is no other runner");
    for (name, spawn) in PARTS {
        spawn(runner.spawner());
        runner.run(Halt);
        println!("{name}: done");
    }
    drop(runner);
    wakers::block_on_one();
    println!("block_on: done");
}
