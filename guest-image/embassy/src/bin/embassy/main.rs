//! What is made for embassy, on dormir's executor: embassy-time, embassy-sync, embassy-futures.
//!
//! Each part asserts what it should; a deadline may be late, by however long the vCPU loses its processor,
//! and never early.
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

/// Each is run until its tasks have ended.
const PARTS: &[Part] = &[
    ("timers", timers::spawn),
    ("channel, signal, mutex", sync::spawn),
    ("many tasks", wakers::spawn_many),
    ("many wakers in one task", wakers::spawn_one),
    ("more wakers than there is room for", wakers::spawn_too_many),
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
