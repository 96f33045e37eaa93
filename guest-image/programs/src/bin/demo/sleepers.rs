//! Thousands of sleepers at once. None of them takes a thread or a timer of the machine: a sleeper is a
//! task of some hundred bytes, its timer a node in a tree, and the machine's one timer is set to the
//! earliest of them.

use core::time::Duration;

use dormir::{
    executor::{Executor, SingleVcpu, Up4096, cell_size},
    task,
    time::{Instant, Timer},
};
use dormir_guest::{console::report, println};

use crate::{Outcome, measure};

const SLEEPERS: usize = 4000;

// SAFETY: this guest is given one vCPU.
static EXECUTOR: Executor<Up4096, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

task! {
    async fn sleeper(nap: Duration), pool = SLEEPERS {
        let start = Instant::now();
        Timer::after(nap).await;
        assert!(Instant::now().saturating_duration_since(start) >= nap, "a sleeper was woken too early");
    }
}

pub(crate) fn run() -> Outcome {
    EXECUTOR.on_wake(measure::count_poll);
    measure::napping(|idle| {
        let mut runner = EXECUTOR.enter()?;
        println!("{SLEEPERS} tasks go to sleep, for two to three seconds each");
        for place in places() {
            let nap = Duration::from_secs(2) + Duration::from_micros(250) * place;
            runner.spawner().spawn_detached(sleeper(nap))?;
        }

        // Each is polled once and begins to wait. (A pass would wake the first ones in between, where the machine
        // is so slow that it takes two seconds.)
        while runner.step() {}
        let asleep = EXECUTOR.tasks();
        // What the library takes for each, beside its place in the executor.
        let bytes = cell_size(&|| sleeper(Duration::ZERO).into_future());
        println!(
            "{asleep} are asleep at once, on {bytes} bytes each; one timer will wake them all"
        );
        report("asleep_at_once", asleep as u64);

        runner.run(idle);
        println!("all are up again, none before its time");
        Ok(())
    })
}

/// Each number below [`SLEEPERS`] once, in a scrambled order.
fn places() -> impl Iterator<Item = u32> {
    // Prime to 4000, so each comes once.
    const STRIDE: usize = 1237;
    (0..SLEEPERS).map(|n| (n * STRIDE % SLEEPERS) as u32)
}
