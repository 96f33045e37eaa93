//! How the attributes' `async` functions are run: as the first task of an executor.

use core::future::Future;

use dormir::{
    block_on,
    executor::{Executor, SingleVcpu, Spawner, Task, Up64},
    idle::Halt,
};

use crate::SETUP_FAILED;

// SAFETY: a guest of this crate has one vCPU.
static EXECUTOR: Executor<Up64, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

/// Runs a task and those that it spawns until none is left; returns the first one's output, the
/// guest's exit code.
#[doc(hidden)]
pub fn run_task<F>(make: impl FnOnce(Spawner) -> Task<F>) -> u8
where
    F: Future<Output = u8> + 'static,
{
    let mut runner = EXECUTOR
        .enter()
        .expect("the function is the program, which is called once");
    let spawner = runner.spawner();
    let Ok(first) = spawner.spawn(make(spawner)) else {
        unreachable!("the executor and the pool of the first task are empty");
    };
    runner.run(Halt);
    // Only its handle, which is here, could abort it.
    block_on(first, Halt).unwrap_or(SETUP_FAILED)
}
