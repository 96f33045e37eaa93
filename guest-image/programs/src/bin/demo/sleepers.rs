//! Thousands of sleepers at once, without threads and on one hardware timer: a sleeper is a task of
//! about a hundred bytes, its timer a node in a tree, and the hardware timer is set to the earliest
//! deadline.

use core::time::Duration;

use dormir::{
    executor::{Executor, SingleVcpu, Up4096, cell_size},
    tasks,
    time::{Instant, Timer},
};
use dormir_guest::{console::report, println};

use crate::{DemoResult, measure};

const SLEEPERS: usize = 4000;

// SAFETY: this guest has one vCPU.
static EXECUTOR: Executor<Up4096, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

tasks! {
    async fn sleeper(nap: Duration), pool = SLEEPERS {
        let start = Instant::now();
        Timer::after(nap).await;
        assert!(Instant::now().saturating_duration_since(start) >= nap, "a sleeper was woken too early");
    }
}

pub(crate) fn run() -> DemoResult {
    EXECUTOR.on_wake(measure::count_poll);
    measure::napping(|idle| {
        let mut runner = EXECUTOR.enter()?;
        println!("{SLEEPERS} tasks go to sleep, for two to three seconds each");
        for rank in ranks() {
            let nap = Duration::from_secs(2) + Duration::from_micros(250) * rank;
            runner.spawner().spawn_detached(sleeper(nap))?;
        }

        // Polls each task once, so that it starts to wait. (On a machine so slow that this takes
        // two seconds, a pass would also wake the first sleepers.)
        while runner.step() {}
        let asleep = EXECUTOR.tasks();
        // What the library needs for each, besides its slot in the executor.
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

/// Returns each number below [`SLEEPERS`] once, in a scrambled order.
fn ranks() -> impl Iterator<Item = u32> {
    // Coprime to 4000, so each occurs once.
    const STRIDE: usize = 1237;
    (0..SLEEPERS).map(|n| (n * STRIDE % SLEEPERS) as u32)
}
