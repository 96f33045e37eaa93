//! The model: what it knows of each task, and what it allows.

use super::{scripted, *};
use std::format;

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Output,
    Aborted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handle {
    Held,
    Forgotten,
    Gone,
}

/// One task.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) is_local: bool,
    /// Whether its output has something to drop.
    pub(super) is_dropping: bool,
    pub(super) is_spawned: bool,
    pub(super) is_live: bool,
    /// It must be visited in the next pass.
    pub(super) is_ready: bool,
    /// It was aborted, and the runner has not dropped its future yet.
    pub(super) is_aborted: bool,
    /// The pass in which it was last visited.
    pub(super) visited: u64,
    pub(super) waker: Option<Waker>,
    pub(super) handle: Handle,
    pub(super) end: Option<End>,
    pub(super) futures_dropped: u32,
    pub(super) outputs_made: u32,
    pub(super) outputs_dropped: u32,
    /// The waker of the last poll of its handle.
    pub(super) joiner: Option<Arc<Counter>>,
    /// There was a handle when it ended.
    pub(super) wakes_joiner: bool,
    /// How the poll that is going on ends it.
    pub(super) leaves_poll: Option<End>,
}

impl Task {
    /// A task that is not spawned yet.
    pub(super) fn new(is_local: bool, is_dropping: bool) -> Self {
        Self {
            is_local,
            is_dropping,
            is_spawned: false,
            is_live: false,
            is_ready: false,
            is_aborted: false,
            visited: 0,
            waker: None,
            handle: Handle::Gone,
            end: None,
            futures_dropped: 0,
            outputs_made: 0,
            outputs_dropped: 0,
            joiner: None,
            wakes_joiner: false,
            leaves_poll: None,
        }
    }

    /// Whether it uses a slot of the executor and of its pool.
    pub(super) fn has_slot(&self) -> bool {
        self.is_live || self.end.is_some() && (self.handle != Handle::Gone || self.has_output())
    }

    /// Whether it has an output that needs to be dropped.
    pub(super) fn has_output(&self) -> bool {
        self.is_dropping && self.outputs_made > self.outputs_dropped
    }
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) tasks: Vec<Task>,
    pub(super) pass: u64,
    pub(super) has_runner: bool,
    /// A pass or the drop of the runner is going on, so futures may be dropped.
    pub(super) is_running: bool,
    pub(super) is_leaving: bool,
    /// The task whose output the test is dropping, after it has joined the task or dropped its
    /// handle.
    pub(super) holder_drops: Option<usize>,
    pub(super) wrong: Vec<String>,
}

impl Model {
    pub(super) fn expect(&mut self, holds: bool, what: &str, task: usize) {
        if !holds {
            let state = &self.tasks[task];
            self.wrong.push(format!("{what}: task {task}, {state:?}"));
        }
    }

    pub(super) fn task(&mut self, number: usize) -> &mut Task {
        &mut self.tasks[number]
    }

    pub(super) fn live(&self) -> usize {
        self.tasks.iter().filter(|task| task.is_live).count()
    }

    pub(super) fn slots(&self) -> usize {
        self.tasks.iter().filter(|task| task.has_slot()).count()
    }

    pub(super) fn slots_in_pool(&self, is_dropping: bool) -> usize {
        let same = self
            .tasks
            .iter()
            .filter(|task| task.is_dropping == is_dropping);
        same.filter(|task| task.has_slot()).count()
    }

    /// Why this task cannot be spawned now, if it cannot.
    pub(super) fn limit(&self, number: usize) -> Option<SpawnErrorKind> {
        let task = &self.tasks[number];
        let pool = if task.is_dropping {
            scripted::DROPPING
        } else {
            scripted::PLAIN
        };
        if task.is_local && !self.has_runner {
            Some(SpawnErrorKind::RunnerGone)
        } else if self.slots_in_pool(task.is_dropping) == pool {
            Some(SpawnErrorKind::PoolFull)
        } else if self.slots() == 64 {
            Some(SpawnErrorKind::ExecutorFull)
        } else {
            None
        }
    }

    /// The task is aborted.
    pub(super) fn abort(&mut self, number: usize) {
        let task = self.task(number);
        if task.is_live {
            task.is_aborted = true;
            task.is_ready = true;
        }
    }

    pub(super) fn begin_poll(&mut self, number: usize, waker: &Waker) {
        let (pass, is_running) = (self.pass, self.is_running);
        let task = self.task(number);
        let is_right = task.is_live && task.is_ready && !task.is_aborted && task.visited != pass;
        self.expect(is_right && is_running, "polled", number);
        let task = self.task(number);
        task.is_ready = false;
        task.visited = pass;
        task.waker = Some(waker.clone());
    }

    /// Also called in a poll that ends the task, or panics.
    pub(super) fn future_dropped(&mut self, number: usize) {
        let (pass, is_running, is_leaving) = (self.pass, self.is_running, self.is_leaving);
        let task = self.task(number);
        task.futures_dropped += 1;
        if !task.is_spawned {
            return;
        }
        let end = match task.leaves_poll.take() {
            Some(end) => Some(end),
            None => {
                let may_go = (task.is_aborted && task.is_ready && task.visited != pass)
                    || (is_leaving && task.is_local);
                may_go.then_some(End::Aborted)
            }
        };
        let is_right = end.is_some() && task.is_live && task.futures_dropped == 1;
        task.end = end;
        task.wakes_joiner = task.handle != Handle::Gone;
        task.is_live = false;
        task.is_ready = false;
        task.visited = pass;
        self.expect(is_right && is_running, "its future is dropped", number);
    }

    pub(super) fn output_dropped(&mut self, number: usize) {
        let may_drop = self.is_running || self.holder_drops == Some(number);
        let task = self.task(number);
        task.outputs_dropped += 1;
        let is_right = task.outputs_dropped == task.outputs_made && task.end == Some(End::Output);
        self.expect(is_right && may_drop, "its output is dropped", number);
    }

    /// The ready bit of the waker's slot is set. The waker may be stale, and wake another task than
    /// its own.
    pub(super) fn wake_slot(&mut self, waker: &Waker) {
        for task in self.tasks.iter_mut().filter(|task| task.is_live) {
            if task
                .waker
                .as_ref()
                .is_some_and(|other| other.data() == waker.data())
            {
                task.is_ready = true;
            }
        }
    }

    /// Checks that a pass has visited each task that was ready.
    pub(super) fn check_after_pass(&mut self, were_ready: &[usize]) {
        for &number in were_ready {
            let pass = self.pass;
            let was_visited = self.task(number).visited == pass;
            self.expect(was_visited, "not visited", number);
        }
    }

    /// Checks that local tasks were dropped with their runner.
    pub(super) fn check_after_leaving(&mut self) {
        for number in 0..self.tasks.len() {
            let task = self.task(number);
            let is_right = !(task.is_local && task.is_live);
            self.expect(is_right, "it outlives its runner", number);
        }
    }

    /// The tasks that are ready.
    pub(super) fn ready(&self) -> Vec<usize> {
        let all = self.tasks.iter().enumerate();
        let ready = all.filter(|(_, task)| task.is_ready);
        ready.map(|(number, _)| number).collect()
    }

    /// Checks that the waker of a joiner is kept only until it is woken.
    pub(super) fn check_joiners(&mut self) {
        for number in 0..self.tasks.len() {
            let task = self.task(number);
            let Some(joiner) = &task.joiner else { continue };
            let wakes = joiner.wakes();
            let is_kept = Arc::strong_count(joiner) > 1;
            let is_wanted = task.is_live && task.handle != Handle::Gone;
            let is_right = wakes == usize::from(task.wakes_joiner) && is_kept == is_wanted;
            self.expect(is_right, "its joiner's waker", number);
        }
    }
}
