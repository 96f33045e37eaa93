//! What the reference knows of timers.

use core::mem;

use super::{Check, Reference, expect, tasks::Embassy};
use crate::random_programs::alloc::{format, string::String};

#[derive(Clone, Copy)]
pub(super) struct Timer {
    deadline: u64,
    state: State,
    /// The task that it wakes.
    task: usize,
    /// It notes when it is served.
    is_recorded: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// It waits since this many timers had begun to wait.
    Linked(u64),
    Fired,
}

impl Timer {
    /// A timer as a task has just polled it.
    pub(super) fn polled(deadline: u64, is_recorded: bool, task: usize) -> Self {
        Self {
            deadline,
            state: State::Idle,
            task,
            is_recorded,
        }
    }

    pub(super) fn is_linked(&self) -> bool {
        matches!(self.state, State::Linked(_))
    }

    /// Timers are served in this order.
    fn key(&self) -> Option<(u64, u64)> {
        match self.state {
            State::Linked(since) => Some((self.deadline, since)),
            State::Idle | State::Fired => None,
        }
    }
}

impl Reference {
    /// A timer was polled, between these two instants.
    pub(super) fn poll_timer(
        &mut self,
        number: usize,
        polled: Timer,
        (before, after): (u64, u64),
        is_ready: bool,
    ) -> Check {
        let Timer { deadline, task, .. } = polled;
        while self.timers.len() <= number {
            self.timers.push(Timer::polled(deadline, false, task));
        }
        let state = self.timers[number].state;
        let wrong = |what: &str| -> Result<(), String> {
            Err(format!("timer {number}, until {deadline}, {what}"))
        };
        match state {
            _ if is_ready && deadline > after => return wrong("has ended early"),
            State::Idle if !is_ready && deadline <= before => return wrong("waits for the past"),
            State::Fired if !is_ready => return wrong("waits, though it was served"),
            // It has been served, unnoticed, and with it all that come first.
            State::Linked(since) if is_ready => {
                // Its wake has led to this poll, or came amid it.
                let was_ready = self.tasks[task].is_ready;
                self.serve_until((deadline, since))?;
                let task = &mut self.tasks[task];
                task.may_be_ready |= task.is_ready;
                task.is_ready = was_ready;
            }
            _ => {}
        }
        let timer = &mut self.timers[number];
        *timer = Timer {
            state: timer.state,
            ..polled
        };
        match (is_ready, state) {
            (true, _) => timer.state = State::Fired,
            (false, State::Idle) => {
                timer.state = State::Linked(self.waits_begun);
                self.waits_begun += 1;
            }
            (false, _) => {}
        }
        Ok(())
    }

    /// A timer's recorded waker was woken.
    pub(super) fn fire(&mut self, number: usize) -> Check {
        let Timer { deadline, .. } = self.timers[number];
        let Some(key) = self.timers[number].key() else {
            return Err(format!("timer {number} is served, though it does not wait"));
        };
        expect(deadline <= self.now, || {
            format!("timer {number}, until {deadline}, is served early")
        })?;
        self.end_pass()?;
        // This is its note.
        self.timers[number].is_recorded = false;
        self.serve_until(key)?;
        Ok(())
    }

    /// A timer was reset or dropped.
    pub(super) fn unlink(&mut self, number: usize) {
        let Some(timer) = self.timers.get_mut(number) else {
            // It was never polled.
            return;
        };
        let state = mem::replace(&mut timer.state, State::Idle);
        let may_have_passed = timer.deadline <= self.now || !self.is_exact;
        if matches!(state, State::Linked(_)) && may_have_passed {
            let task = &mut self.tasks[timer.task];
            task.may_be_ready = true;
        }
    }

    /// All timers are served whose deadlines have passed.
    pub(super) fn serve(&mut self, now: u64) -> Check {
        self.serve_until((now, u64::MAX))
    }

    /// All timers are served that come before this one in their order, and it.
    fn serve_until(&mut self, last: (u64, u64)) -> Check {
        for number in 0..self.timers.len() {
            let timer = self.timers[number];
            if timer.key().is_some_and(|key| key <= last) {
                expect(!timer.is_recorded, || {
                    format!("timer {number}, until {}, was not served", timer.deadline)
                })?;
                self.timers[number].state = State::Fired;
                self.tasks[timer.task].was_served = true;
                self.wake(timer.task);
            }
        }
        // One with the deadline of the last timer may come after it.
        let last = if last.1 == u64::MAX {
            last.0
        } else {
            last.0 - 1
        };
        for task in &mut self.tasks {
            let is_woken = task.embassy.first.is_some_and(|first| first <= last);
            if task.embassy.pass(last) {
                task.was_served = true;
                task.is_ready |= is_woken;
                task.may_be_ready = true;
            }
        }
        Ok(())
    }

    /// A task was polled that had not been woken: the first of its timers has been served.
    pub(super) fn explain_poll(&mut self, number: usize) -> Check {
        let now = self.now;
        let own = self.first_of(number).filter(|own| own.0 <= now);
        let task = &mut self.tasks[number];
        let passed = |deadline: &u64| *deadline <= now;
        let embassy = task.embassy.first.filter(passed);
        if task.may_be_ready || task.embassy.maybe.iter().any(passed) {
            return Ok(());
        }
        match (own, embassy) {
            (None, None) => Err(format!("task {number} is polled, though it was not woken")),
            (Some(own), None) => self.serve_until(own),
            (Some(own), Some(embassy)) if own.0 < embassy => self.serve_until(own),
            (Some(own), Some(embassy)) if own.0 == embassy => Ok(()),
            (_, Some(embassy)) => {
                task.embassy.pass(embassy);
                Ok(())
            }
        }
    }

    fn first_of(&self, task: usize) -> Option<(u64, u64)> {
        let of_task = self.timers.iter().filter(|timer| timer.task == task);
        of_task.filter_map(Timer::key).min()
    }

    /// Whether a deadline of this task has passed whose timer may have been served.
    pub(super) fn has_passed(&self, task: usize) -> bool {
        let Embassy { first, maybe, .. } = &self.tasks[task].embassy;
        let own = self.first_of(task).map(|(deadline, _)| deadline);
        let mut all = own.iter().chain(first).chain(maybe);
        all.any(|deadline| *deadline <= self.now)
    }

    /// A loop waits until `deadline`: what comes before it has been served.
    pub(super) fn check_deadline(&mut self, deadline: Option<u64>) -> Check {
        match deadline {
            Some(deadline) => self.serve_until((deadline - 1, u64::MAX))?,
            None => self.serve(u64::MAX)?,
        }
        let timers = self.timers.iter().filter_map(Timer::key);
        let embassy = self.tasks.iter().filter_map(|task| task.embassy.first);
        let first = timers.map(|(deadline, _)| deadline).chain(embassy).min();
        let is_future = !self.is_exact || first.is_none_or(|first| first > self.now);
        let mut maybe = self.tasks.iter().flat_map(|task| &task.embassy.maybe);
        let is_first = first == deadline
            || maybe
                .any(|maybe| Some(*maybe) == deadline && first.is_none_or(|first| first > *maybe));
        expect(is_first && is_future, || {
            format!("the loop waits until {deadline:?}, not {first:?}")
        })
    }

    /// The task that is being polled has polled one of its timers of embassy-time.
    pub(super) fn poll_embassy(&mut self, deadline: u64, before: u64, is_ready: bool) -> Check {
        expect(!is_ready || deadline <= self.now, || {
            format!("a timer of embassy-time, until {deadline}, has ended early")
        })?;
        if !is_ready {
            let current = self.current()?;
            if deadline <= before {
                self.wake(current);
                return Ok(());
            }
            let task = &mut self.tasks[current];
            if deadline <= self.now {
                task.may_be_ready = true;
                task.embassy.ask_late(deadline);
            } else {
                task.embassy.ask(deadline);
            }
        }
        Ok(())
    }
}
