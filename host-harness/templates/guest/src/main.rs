//! The guest that `cargo run` boots.
#![no_std]
#![no_main]

use dormir::{
    executor::{Executor, SingleVcpu, Up64},
    idle::Halt,
};
use dormir_guest::entry;

use {{crate}}::blink;

entry!(main);

// SAFETY: this guest has one vCPU.
static EXECUTOR: Executor<Up64, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

fn main() -> Result<(), &'static str> {
    let mut runner = EXECUTOR.enter().map_err(|_| "it is entered already")?;
    // The handle could return the task's output, or abort it.
    let _handle = runner
        .spawner()
        .spawn(blink(3))
        .map_err(|_| "there is no room")?;
    // Sleeps on `hlt` until a task is ready, and returns when no task is left.
    runner.run(Halt);
    Ok(())
}
