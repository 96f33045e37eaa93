//! The executors in which a task sleeps: every capacity, with `Shared` and with `SingleVcpu`.

use dormir::{
    executor::{Capacity, Executor, Shared, SingleVcpu, Up64, Up4096, Up65536},
    idle::Halt,
};
use dormir_bench_guest::figures::Subject;

use crate::{NAME, sleeper::Sleeper};

dormir::tasks! { fn sleeper(task: Sleeper) -> Sleeper, pool = 1 { task } }

/// Calls `with` for each executor, with its description and a function that runs a task in it to
/// completion.
pub(crate) fn each(mut with: impl FnMut(&Subject, &dyn Fn(Sleeper))) {
    macro_rules! with_each {
        ($($capacity:ident)*, $name:literal $cpus:ty, $value:expr) => {$({
            static EXECUTOR: Executor<$capacity, $cpus> = Executor::new($value);
            let subject = Subject {
                runtime: NAME,
                n: 1,
                capacity: Some($capacity::TASKS as usize),
                cpus: Some($name),
            };
            // Entered before counting starts, since entering a large executor takes a while.
            let runner = EXECUTOR.enter().expect("it is entered only here");
            let runner = core::cell::RefCell::new(runner);
            let run = |task| {
                let mut runner = runner.borrow_mut();
                let spawned = runner.spawner().spawn_detached(sleeper(task));
                spawned.unwrap_or_else(|_| panic!("it is the only task"));
                runner.run(Halt);
            };
            with(&subject, &run);
        })*};
    }
    with_each!(Up64 Up4096 Up65536, "shared" Shared, Shared);
    // SAFETY: this guest has one vCPU.
    with_each!(Up64 Up4096 Up65536, "single" SingleVcpu, unsafe { SingleVcpu::new() });
}
