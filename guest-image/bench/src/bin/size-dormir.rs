//! A small guest whose image size is measured: one task of dormir's executor sleeps ten times.
#![no_std]
#![no_main]

use core::time::Duration;

use dormir::{
    executor::{Executor, Shared, Up64},
    idle::Halt,
    time::Timer,
};

dormir_guest::entry!(main);

static EXECUTOR: Executor<Up64> = Executor::new(Shared);

dormir::tasks! {
    async fn sleeper(), pool = 1 {
        for _ in 0..10 {
            Timer::after(Duration::from_millis(1)).await;
        }
    }
}

fn main() -> Result<(), &'static str> {
    let mut runner = EXECUTOR
        .enter()
        .map_err(|_| "the executor is already entered")?;
    runner
        .spawner()
        .spawn_detached(sleeper())
        .map_err(|_| "there is no room for the task")?;
    runner.run(Halt);
    Ok(())
}
