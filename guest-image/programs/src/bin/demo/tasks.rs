//! Tasks: spawned, awaited, taking turns, aborted; then thousands of them, and what one costs.

use alloc::vec::Vec;
use core::{future::pending, mem::size_of_val};

use dormir::{
    arch::x86_64::tsc,
    block_on,
    executor::{
        Aborted, Capacity, Executor, JoinHandle, SingleVcpu, Spawner, Up65536, cell_size, yield_now,
    },
    idle::Halt,
    tasks,
};
use dormir_guest::{console::report, print, println};
use futures_util::future::{join, join_all};

use crate::{DemoResult, measure};

/// How many tasks exist at once, at the end.
const CROWD: usize = 12_000;

tasks! {
    /// Its output goes to the task that awaits its handle.
    async fn square(n: u64) -> u64, pool = CROWD {
        n * n
    }

    async fn call_three_times(call: &'static str), pool = 2 {
        for _ in 0..3 {
            print!("{call} ");
            yield_now().await;
        }
    }

    async fn never_end(), pool = 1 {
        pending().await
    }

    async fn lecture(spawner: Spawner) -> Result<(), Aborted>, pool = 1 {
        take_turns(spawner).await?;
        await_outputs(spawner).await?;
        abort_one(spawner).await;
        spawn_a_crowd(spawner).await
    }
}

// SAFETY: this guest has one vCPU.
static EXECUTOR: Executor<Up65536, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

pub(crate) fn run() -> DemoResult {
    let mut runner = EXECUTOR.enter()?;
    let spawner = runner.spawner();
    let lecture = spawner.spawn(lecture(spawner))?;
    measure::napping(|idle| runner.run(idle));
    // It has completed, and its output is still to be taken.
    Ok(block_on(lecture, Halt)??)
}

/// A task that yields is polled again only after every other ready task has been.
async fn take_turns(spawner: Spawner) -> Result<(), Aborted> {
    let spawn = |call| {
        spawner
            .spawn(call_three_times(call))
            .expect("there are two")
    };
    let (ping, pong) = join(spawn("ping"), spawn("pong")).await;
    println!("in turn");
    ping.and(pong)
}

fn spawn_square(spawner: Spawner, n: u64) -> JoinHandle<u64> {
    spawner
        .spawn(square(n))
        .expect("the pool has room for the crowd")
}

/// Handles are futures: awaits one, joins two, and joins any number.
async fn await_outputs(spawner: Spawner) -> Result<(), Aborted> {
    let two = spawn_square(spawner, 2);
    println!("one task has ended, with {}", two.await?);
    let (three, four) = (spawn_square(spawner, 3), spawn_square(spawner, 4));
    let (three, four) = join(three, four).await;
    println!("two have ended, with {} and {}", three?, four?);
    let outputs = join_all((5..10).map(|n| spawn_square(spawner, n))).await;
    let outputs: Result<Vec<u64>, Aborted> = outputs.into_iter().collect();
    println!("five have ended, with {:?}", outputs?);
    Ok(())
}

async fn abort_one(spawner: Spawner) {
    let endless = spawner.spawn(never_end()).expect("there is one");
    yield_now().await;
    endless.abort();
    match endless.await {
        Ok(()) => println!("the endless task has ended"),
        Err(aborted) => println!("one was aborted: {aborted}"),
    }
}

/// All tasks exist at once: none is polled before this task waits for the first.
async fn spawn_a_crowd(spawner: Spawner) -> Result<(), Aborted> {
    let mut crowd = Vec::with_capacity(CROWD);
    let start = tsc::read();
    crowd.extend((0..CROWD as u64).map(|n| spawn_square(spawner, n)));
    let mut sum = 0;
    for task in crowd {
        sum += task.await?;
    }
    let ticks = (tsc::read() - start) / CROWD as u64;
    println!("{CROWD} have ended, with {sum} in all");

    let future = size_of_val(&square(0).into_future());
    let in_the_pool = cell_size(&|| square(0).into_future());
    let in_the_executor = size_of_val(&EXECUTOR) / Up65536::TASKS as usize;
    println!(
        "each took {in_the_pool} bytes in its pool ({future} of them its future), \
         {in_the_executor} in the executor, and {ticks} ticks of the TSC"
    );
    report("bytes_per_task", (in_the_pool + in_the_executor) as u64);
    report("tsc_per_task", ticks);
    Ok(())
}
