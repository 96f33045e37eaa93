//! The order in which tasks are visited.

use super::{Check, Reference, expect, tasks::Task};
use crate::random_programs::{alloc::format, note::Loop};

/// The slot that the pass of a place has visited last.
#[derive(Clone, Copy)]
pub(super) enum Last {
    /// A pass begins.
    Start,
    Slot(usize),
    /// Until the next pass begins.
    Unknown,
}

/// What a visit does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Visit {
    Poll,
    /// Of an aborted task's future.
    Drop,
}

impl Reference {
    /// The next pass of this place begins anew.
    pub(super) fn begin_passes(&mut self, place: usize) {
        self.places[place].last = Last::Start;
        let here = self.tasks.iter_mut().filter(|task| task.place == place);
        here.for_each(|task| task.behind = 0);
    }

    /// Timers are served between polls, so a pass has ended.
    pub(super) fn end_pass(&mut self) -> Check {
        let Some(&place) = self.open.last() else {
            return Ok(());
        };
        if self.is_polling(place) {
            return Ok(());
        }
        let Place { how, last } = self.pass_of(place);
        self.places[place].last = match last {
            // It may be amid the pass.
            _ if self.is_wide && place == 0 => Last::Unknown,
            Last::Slot(last) if how != Loop::Steps => {
                self.check_left_out(place, last)?;
                Last::Start
            }
            _ => Last::Start,
        };
        Ok(())
    }

    /// Checks that a pass that has visited this slot last has visited all that were ready.
    fn check_left_out(&self, place: usize, last: usize) -> Check {
        let left_out = self.ready_in(place, last, usize::MAX);
        expect(left_out.is_none(), || {
            format!("the pass has left out task {left_out:?}")
        })
    }

    pub(super) fn visit(&mut self, number: usize, visit: Visit) -> Check {
        let (place, was_woken) = (self.tasks[number].place, self.tasks[number].is_ready);
        expect(was_woken || visit == Visit::Poll, || {
            format!("task {number} is visited, though it was not woken")
        })?;
        self.check_order(number, was_woken)?;
        let is_out_of_turn = self.may_be_out_of_turn(number);
        let behind = self.tasks[number].behind;
        expect(behind == 0 || is_out_of_turn, || {
            format!("task {number} is visited twice before the tasks {behind:#b}")
        })?;
        let task = &mut self.tasks[number];
        task.is_ready = false;
        task.was_served = false;
        task.may_be_ready = false;
        task.embassy.visit(self.now);
        let mut ready = 0;
        for (other, task) in self.tasks.iter_mut().enumerate() {
            task.behind &= !(1 << number);
            if task.place == place && task.is_live() && task.is_ready && other != number {
                ready |= 1 << other;
            }
        }
        self.tasks[number].behind = if is_out_of_turn { 0 } else { ready };
        Ok(())
    }

    /// Checks that a pass visits tasks in the order of their slots. If the task was not known to be
    /// woken, a timer was served.
    fn check_order(&mut self, number: usize, was_woken: bool) -> Check {
        let place = self.tasks[number].place;
        let Place { how, last } = self.pass_of(place);
        let (slot, after) = match (self.tasks[number].slot, last) {
            (Some(slot), Last::Slot(last)) if how != Loop::Steps => (slot, last),
            (Some(slot), Last::Start) if how != Loop::Steps => (slot, usize::MAX),
            // The slot of an aborted task that was never polled is not known.
            _ => {
                self.places[place].last = Last::Unknown;
                return if was_woken {
                    Ok(())
                } else {
                    self.explain_poll(number)
                };
            }
        };
        let is_new_pass = slot <= after;
        if is_new_pass && after != usize::MAX && !self.may_be_out_of_turn(number) {
            self.check_left_out(place, after)?;
        }
        if !was_woken {
            self.explain_poll(number)?;
        }
        if self.may_be_out_of_turn(number) {
            self.places[place].last = Last::Unknown;
            return Ok(());
        }
        if is_new_pass && after != usize::MAX && self.is_exact {
            // The timers are served after each pass.
            self.serve(self.now)?;
        }
        let from = if is_new_pass { 0 } else { after };
        let before = self.ready_in(place, from, slot);
        expect(before.is_none(), || {
            format!("the pass visits task {number} before {before:?}")
        })?;
        self.places[place].last = Last::Slot(slot);
        Ok(())
    }

    /// Tasks whose deadlines pass amid a long pass are polled once more.
    fn may_be_out_of_turn(&self, number: usize) -> bool {
        let task = &self.tasks[number];
        let is_due = !task.is_ready || task.was_served || self.has_passed(number);
        self.is_wide && task.place == 0 && is_due
    }

    fn pass_of(&self, place: usize) -> Place {
        let place = &self.places[place];
        Place {
            how: place.how,
            last: place.last,
        }
    }

    /// A task in a slot between these two that must be visited.
    fn ready_in(&self, place: usize, after: usize, before: usize) -> Option<usize> {
        let is_meant = |task: &Task| {
            let is_between = task.slot.is_some_and(|slot| after < slot && slot < before);
            task.place == place && task.is_live() && task.is_ready && is_between
        };
        self.tasks.iter().position(is_meant)
    }
}

struct Place {
    how: Loop,
    last: Last,
}
