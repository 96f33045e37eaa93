//! An executor with the model beside it.

use super::{
    act::{Act, Plan, World},
    model::Handle,
    scripted::{SPAWNER, Spawners, VTables},
    *,
};
use proptest::test_runner::TestCaseError;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(super) struct Bench {
    executor: &'static Executor<Up64>,
    runner: Option<Runner<Up64>>,
    world: World,
}

impl Bench {
    pub(super) fn new() -> Self {
        let executor = executor::<Up64>();
        let remote = executor.remote();
        let vtables = VTables::new();
        let mut bench = Self {
            executor,
            runner: None,
            world: World::new(Spawners { remote, vtables }),
        };
        bench.enter();
        bench
    }

    fn enter(&mut self) {
        let runner = self.executor.enter().expect("there is no runner");
        assert_eq!(self.executor.enter().err(), Some(AlreadyEntered));
        SPAWNER.set(Some(runner.spawner()));
        self.runner = Some(runner);
        self.world.state().model.has_runner = true;
    }

    pub(super) fn act(&self, act: Act) {
        self.world.act(act, None);
    }

    pub(super) fn plan(&self, task: usize, plan: Plan) {
        let mut state = self.world.state();
        let tasks = state.plans.len();
        if tasks > 0 {
            state.plans[task % tasks] = plan;
        }
    }

    pub(super) fn pass(&mut self) {
        let model =
            |change: &mut dyn FnMut(&mut model::Model)| change(&mut self.world.state().model);
        let mut ready = Vec::new();
        model(&mut |model| {
            ready = model.ready();
            model.pass += 1;
            model.is_running = true;
        });
        let runner = self.runner.as_mut().expect("it has been entered");
        let passed = catch_unwind(AssertUnwindSafe(|| runner.pass()));
        model(&mut |model| {
            model.is_running = false;
            // A pass that unwound has not visited all tasks.
            if passed.is_ok() {
                model.check_after_pass(&ready);
            }
        });
    }

    pub(super) fn leave(&mut self, acts: Vec<Act>) {
        let mut state = self.world.state();
        state.model.pass += 1;
        state.model.is_running = true;
        state.model.is_leaving = true;
        state.model.has_runner = false;
        drop(state);
        self.runner = None;
        let mut state = self.world.state();
        state.model.is_running = false;
        state.model.is_leaving = false;
        state.model.check_after_leaving();
        drop(state);
        // Local tasks are refused, by the spawners of all earlier runners.
        acts.into_iter().for_each(|act| self.act(act));
        let old = SPAWNER.get();
        self.enter();
        let new = SPAWNER.replace(old);
        self.world.state().model.has_runner = false;
        self.act(Act::SpawnAgain);
        self.world.state().model.has_runner = true;
        SPAWNER.set(new);
    }

    pub(super) fn check(&self) -> Result<(), TestCaseError> {
        self.world.check_handles();
        let mut state = self.world.state();
        state.model.check_joiners();
        let wrong = &state.model.wrong;
        prop_assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let (live, slots) = (state.model.live(), state.model.slots());
        prop_assert_eq!(self.executor.tasks(), live);
        prop_assert_eq!(self.executor.core.ended(), slots - live);
        slots::check(self.executor);
        Ok(())
    }

    /// Ends all tasks, and checks that nothing is left except what was forgotten.
    pub(super) fn finish(mut self) -> Result<(), TestCaseError> {
        let tasks = self.world.state().plans.len();
        self.world.state().plans.fill(Plan::default());
        (0..tasks).for_each(|task| self.act(Act::AbortByKeptHandle(task)));
        self.pass();
        self.check()?;
        // Tasks without handles cannot be aborted.
        for task in 0..tasks {
            self.plan(
                task,
                Plan {
                    acts: Vec::new(),
                    ending: act::Ending::End,
                },
            );
            self.act(Act::Wake(task));
        }
        self.pass();
        self.check()?;
        for task in self.world.held() {
            self.act(Act::DropHandle(task));
        }
        self.pass();
        self.check()?;
        let refused = core::mem::take(&mut self.world.state().refused);
        drop(refused);
        self.runner = None;
        let state = self.world.state();
        prop_assert_eq!(self.executor.tasks(), 0);
        for (number, task) in state.model.tasks.iter().enumerate() {
            let is_kept = task.handle == Handle::Forgotten && task.has_output();
            let outputs = task.outputs_dropped + u32::from(is_kept);
            prop_assert_eq!(
                task.futures_dropped,
                1,
                "future of task {}: {:?}",
                number,
                task
            );
            if task.is_dropping {
                prop_assert_eq!(
                    outputs,
                    task.outputs_made,
                    "output of task {}: {:?}",
                    number,
                    task
                );
            }
        }
        Ok(())
    }
}
