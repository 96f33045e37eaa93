//! What the reference knows of each task.

use super::{Check, Owed, Reference, expect, order::Visit};
use crate::random_programs::{
    alloc::{format, string::String, vec::Vec},
    note::{End, Loop},
    run::POOL,
};

pub(super) struct Task {
    pub(super) place: usize,
    pub(super) is_local: bool,
    is_pooled: bool,
    /// There is a handle. Its output, if there is one, was not taken.
    is_joinable: bool,
    state: State,
    /// It must be visited.
    pub(super) is_ready: bool,
    /// It may have been woken: by a timer that may have been served already.
    pub(super) may_be_ready: bool,
    /// A timer has woken it since its last visit.
    pub(super) was_served: bool,
    is_aborted: bool,
    /// The task that polled its handle last.
    joiner: Option<usize>,
    /// Known from its first poll on.
    pub(super) slot: Option<usize>,
    /// The tasks that were ready at its last visit, and were not visited since.
    pub(super) behind: u64,
    /// The deadlines of its timers of embassy-time.
    pub(super) embassy: Embassy,
}

/// A task has one node in the queue for its timers of embassy-time, with the earliest deadline that
/// was asked for since the node last woke it.
#[derive(Default)]
pub(super) struct Embassy {
    pub(super) first: Option<u64>,
    /// Deadlines that the node may have: an earlier one has passed, and may have been served before
    /// these were asked for, or not.
    pub(super) maybe: Vec<u64>,
    is_unsure: bool,
}

impl Embassy {
    /// Forgets what has passed. Returns whether that was something.
    pub(super) fn pass(&mut self, last: u64) -> bool {
        let known = self.maybe.len();
        self.maybe.retain(|deadline| *deadline > last);
        self.first.take_if(|first| *first <= last).is_some() || self.maybe.len() < known
    }

    /// The task is visited. What has passed may have been served already, or may still be.
    pub(super) fn visit(&mut self, now: u64) {
        self.maybe.extend(self.first.take_if(|first| *first <= now));
        self.is_unsure = !self.maybe.is_empty();
    }

    /// As `ask`, but the deadline may have passed by then: if so, the task was woken at once.
    pub(super) fn ask_late(&mut self, deadline: u64) {
        self.is_unsure = true;
        self.maybe.extend(self.first.take());
        self.maybe.push(deadline);
    }

    pub(super) fn ask(&mut self, deadline: u64) {
        if self.is_unsure {
            self.maybe.push(deadline);
        } else {
            self.first = Some(self.first.map_or(deadline, |first| first.min(deadline)));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Spawning it failed, and it was not dropped yet.
    Refused,
    Live,
    Ended {
        has_output: bool,
    },
}

impl Task {
    pub(super) fn new(place: usize, is_local: bool, is_joinable: bool, is_pooled: bool) -> Self {
        Self {
            place,
            is_local,
            is_pooled,
            is_joinable,
            state: State::Live,
            is_ready: true,
            may_be_ready: false,
            was_served: false,
            is_aborted: false,
            joiner: None,
            slot: None,
            behind: 0,
            embassy: Embassy::default(),
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.state == State::Live
    }

    /// Whether nothing is left of it.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Ended { .. }) && !self.is_joinable
    }

    /// Whether its memory is in use.
    fn has_memory(&self) -> bool {
        self.is_live() || self.is_joinable
    }
}

impl Reference {
    pub(super) fn spawn(&mut self, number: usize, new: Task, is_refused: bool) -> Check {
        let tasks = self.tasks.iter();
        let pooled = tasks.filter(|task| task.is_pooled && task.has_memory());
        let expected = new.is_pooled && pooled.count() == POOL;
        expect(number == self.tasks.len() && is_refused == expected, || {
            format!("task {number} was refused: {is_refused}")
        })?;
        self.tasks.push(new);
        if is_refused {
            let task = &mut self.tasks[number];
            task.state = State::Refused;
            task.is_joinable = false;
            self.owed.push(Owed::Future(number, false));
        }
        Ok(())
    }

    /// Wakes the slot that the task's wakers name, which may be another task's by now.
    pub(super) fn wake(&mut self, number: usize) {
        let woken = &mut self.tasks[number];
        if woken.is_live() {
            woken.is_ready = true;
            return;
        }
        let slot = woken.slot;
        let same = |task: &&mut Task| task.is_live() && task.slot.is_some() && task.slot == slot;
        let tasks = self.tasks.iter_mut();
        tasks.filter(same).for_each(|task| task.is_ready = true);
    }

    pub(super) fn abort(&mut self, number: usize) {
        let task = &mut self.tasks[number];
        if task.is_live() {
            task.is_aborted = true;
            task.is_ready = true;
        }
    }

    /// Whether the runner of the task's place may visit it now.
    fn check_visit(&self, number: usize, what: &str) -> Check {
        let task = &self.tasks[number];
        let is_here = self.open.last() == Some(&task.place);
        let is_polled = self.is_polling(task.place);
        let wrong = |why: &str| -> Result<(), String> {
            Err(format!("task {number} is {what}, though {why}"))
        };
        match () {
            () if !task.is_live() => wrong("it has ended"),
            () if !is_here => wrong("its loop is not the one that runs"),
            () if is_polled => wrong("another task of its loop is being polled"),
            () => Ok(()),
        }
    }

    pub(super) fn is_polling(&self, place: usize) -> bool {
        let polled = self.polled.last();
        polled.is_some_and(|polled| self.tasks[*polled].place == place)
    }

    pub(super) fn poll(&mut self, number: usize, slot: usize) -> Check {
        self.check_visit(number, "polled")?;
        expect(!self.tasks[number].is_aborted, || {
            format!("task {number} is polled, though it was aborted")
        })?;
        let known = self.tasks[number].slot.replace(slot);
        expect(known.is_none_or(|known| known == slot), || {
            format!("the wakers of task {number} have changed")
        })?;
        self.visit(number, Visit::Poll)?;
        self.polled.push(number);
        Ok(())
    }

    /// The poll has returned, or unwound. `end` says whether there is an output, if it has ended.
    pub(super) fn end_poll(&mut self, number: usize, end: Option<bool>) -> Check {
        let polled = self.polled.pop();
        expect(polled == Some(number), || format!("{polled:?} was polled"))?;
        if let Some(has_output) = end {
            self.owed.push(Owed::Future(number, has_output));
        }
        Ok(())
    }

    pub(super) fn drop_future(&mut self, number: usize) -> Check {
        if let Some(&Owed::Future(owed, has_output)) = self.owed.last() {
            self.owed.pop();
            expect(owed == number, || {
                format!("the future of {number} is dropped, not that of {owed}")
            })?;
            if self.tasks[number].state == State::Refused {
                self.tasks[number].state = State::Ended { has_output: false };
            } else {
                self.end(number, has_output);
            }
            return Ok(());
        }
        let task = &self.tasks[number];
        let place = &self.places[task.place];
        if place.is_leaving && task.is_local && task.is_live() {
            self.end(number, false);
            return Ok(());
        }
        self.check_visit(number, "dropped")?;
        expect(self.tasks[number].is_aborted, || {
            format!("the future of task {number} is dropped, though it was not aborted")
        })?;
        self.visit(number, Visit::Drop)?;
        self.end(number, false);
        Ok(())
    }

    fn end(&mut self, number: usize, has_output: bool) {
        let task = &mut self.tasks[number];
        task.state = State::Ended { has_output };
        task.is_ready = false;
        task.embassy = Embassy::default();
        let joiner = task.joiner.take();
        if task.is_joinable {
            if let Some(joiner) = joiner {
                self.wake(joiner);
            }
        } else if has_output {
            self.owed.push(Owed::Output(number));
        }
    }

    pub(super) fn join(&mut self, number: usize, end: Option<End>) -> Check {
        let current = self.current()?;
        let task = &mut self.tasks[number];
        let expected = match task.state {
            State::Ended { has_output: true } => Some(End::Output(number)),
            State::Ended { has_output: false } => Some(End::Aborted),
            State::Live | State::Refused => None,
        };
        expect(end == expected && task.is_joinable, || {
            format!("the handle of task {number} returned {end:?}, not {expected:?}")
        })?;
        match end {
            None => task.joiner = Some(current),
            Some(end) => {
                task.is_joinable = false;
                if end != End::Aborted {
                    self.owed.push(Owed::Output(number));
                }
            }
        }
        Ok(())
    }

    pub(super) fn drop_handle(&mut self, number: usize) {
        let task = &mut self.tasks[number];
        task.is_joinable = false;
        task.joiner = None;
        if task.state == (State::Ended { has_output: true }) {
            self.owed.push(Owed::Output(number));
        }
    }

    /// A loop is about to wait.
    pub(super) fn wait(&mut self, place: usize, deadline: Option<u64>, now: u64) -> Check {
        self.read(now, false)?;
        let is_here = self.open.last() == Some(&place) && !self.is_polling(place);
        expect(is_here, || format!("place {place} waits within a poll"))?;
        self.check_deadline(deadline)?;
        let here = |task: &&Task| task.place == place && task.is_live();
        let lost = self
            .tasks
            .iter()
            .position(|task| here(&task) && task.is_ready);
        expect(lost.is_none(), || {
            format!("place {place} waits, though task {lost:?} was woken")
        })?;
        let is_left = self.tasks.iter().any(|task| here(&task));
        expect(is_left, || {
            format!("place {place} waits, though all tasks have ended")
        })?;
        self.begin_passes(place);
        Ok(())
    }

    /// The wait is over.
    pub(super) fn end_wait(&mut self, now: u64) -> Check {
        self.read(now, true)?;
        let place = self.open.last().map(|place| &self.places[*place]);
        let serves_first = place.is_some_and(|place| {
            // The other loops pass first.
            matches!(place.how, Loop::Run | Loop::UntilIdle)
        });
        if self.is_exact && serves_first {
            self.must_serve = Some(now);
        }
        Ok(())
    }
}
