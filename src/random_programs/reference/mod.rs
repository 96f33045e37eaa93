//! The reference: a sequential model of executors, timers and events.
//!
//! It is a list of tasks, a list of timers, and a few events. What it checks is promised in the
//! library's documentation: see `ARCHITECTURE.md`, "Invariants".

mod order;
mod tasks;
mod timers;

use super::{
    alloc::{
        format,
        string::{String, ToString},
        vec::Vec,
    },
    note::{Loop, Note},
    program::EVENTS,
};
use order::Last;
use tasks::Task;
use timers::Timer;

/// `Err` says what is wrong.
type Check = Result<(), String>;

fn expect(holds: bool, wrong: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(wrong()) }
}

pub(crate) struct Reference {
    /// Time passes only where a note says so.
    is_exact: bool,
    /// The outermost executor has several words of ready bits.
    is_wide: bool,
    now: u64,
    tasks: Vec<Task>,
    timers: Vec<Timer>,
    /// How many timers have begun to wait.
    waits_begun: u64,
    events: [Event; EVENTS],
    places: Vec<Place>,
    /// The places whose loops are running, and the tasks that are being polled, the innermost last.
    open: Vec<usize>,
    polled: Vec<usize>,
    /// Before anything else, the timers are served whose deadlines have passed by this instant.
    must_serve: Option<u64>,
    /// What must be dropped before anything else happens, the next one last.
    owed: Vec<Owed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    /// The future of a task that has just ended, or was refused. It may have an output.
    Future(usize, bool),
    Output(usize),
}

struct Place {
    how: Loop,
    last: Last,
    is_leaving: bool,
}

#[derive(Clone, Copy, Default)]
struct Event {
    signals: u32,
    is_awaited: bool,
    /// The task that was polled last.
    waiter: Option<usize>,
}

impl Reference {
    pub(crate) fn new(is_exact: bool, is_wide: bool, now: u64) -> Self {
        Self {
            is_exact,
            is_wide,
            now,
            tasks: Vec::new(),
            timers: Vec::new(),
            waits_begun: 0,
            events: [Event::default(); EVENTS],
            places: Vec::new(),
            open: Vec::new(),
            polled: Vec::new(),
            must_serve: None,
            owed: Vec::new(),
        }
    }

    /// Follows what has happened.
    ///
    /// # Errors
    ///
    /// If that must not happen, or something else must have happened before.
    pub(crate) fn follow(&mut self, note: Note) -> Check {
        self.check_owed(note)?;
        if !matches!(note, Note::TimerFired { .. })
            && let Some(now) = self.must_serve.take()
        {
            self.serve(now)?;
        }
        match note {
            Note::Opened { place, how } => {
                self.open.push(place);
                self.places.push(Place {
                    how,
                    last: Last::Start,
                    is_leaving: false,
                });
            }
            Note::Closed { place } => {
                self.open.pop();
                self.check_none_left(place, |_| true)?;
            }
            Note::Leaving { place } => self.places[place].is_leaving = true,
            Note::Left { place } => {
                self.check_none_left(place, |task| task.is_local)?;
                self.begin_passes(place);
                self.places[place].is_leaving = false;
                if place != 0 {
                    self.open.pop();
                }
            }
            Note::Waits {
                place,
                deadline,
                now,
            } => self.wait(place, deadline, now)?,
            Note::Woken { now } => self.end_wait(now)?,
            Note::Advanced { now } => {
                self.read(now, true)?;
            }
            Note::Spawned {
                task,
                place,
                is_local,
                is_joinable,
                is_pooled,
                is_refused,
            } => {
                let new = Task::new(place, is_local, is_joinable, is_pooled);
                self.spawn(task, new, is_refused)?;
            }
            Note::Polled { task, slot, now } => {
                self.read(now, false)?;
                self.poll(task, slot)?;
            }
            Note::Returned { task, is_ready } => self.end_poll(task, is_ready.then_some(true))?,
            Note::Panicked { task } => {
                self.end_poll(task, Some(false))?;
                self.begin_passes(self.tasks[task].place);
            }
            Note::FutureDropped { task } => self.drop_future(task)?,
            Note::OutputDropped { task } => {
                let owed = self.owed.pop();
                expect(owed == Some(Owed::Output(task)), || {
                    format!("the output of task {task} is dropped: {owed:?}")
                })?;
            }
            Note::Woke { task } => self.wake(task),
            Note::Yielded => self.wake(self.current()?),
            Note::Aborted { task } => self.abort(task),
            Note::Asked { task, has_ended } => {
                let expected = !self.tasks[task].is_live();
                expect(has_ended == expected, || {
                    format!("`is_finished` of task {task} returned {has_ended}")
                })?;
            }
            Note::Joined { task, end } => self.join(task, end)?,
            Note::HandleDropped { task } => self.drop_handle(task),
            Note::TimerPolled {
                timer,
                deadline,
                is_recorded,
                before,
                after,
                is_ready,
            } => {
                self.read(after, false)?;
                let polled = Timer::polled(deadline, is_recorded, self.current()?);
                self.poll_timer(timer, polled, (before, after), is_ready)?;
            }
            Note::TimerFired { timer, now } => {
                self.read(now, false)?;
                self.fire(timer)?;
            }
            Note::TimerReset { timer } | Note::TimerDropped { timer } => self.unlink(timer),
            Note::Ticked {
                due,
                period,
                missed,
                before,
                after,
            } => {
                let (least, most) = ((before.max(due) - due) / period, (after - due) / period);
                expect((least..=most).contains(&missed), || {
                    format!("a tick has missed {missed}, not {least} to {most}")
                })?;
            }
            Note::EmbassyPolled {
                deadline,
                before,
                after,
                is_ready,
            } => {
                self.read(after, false)?;
                self.poll_embassy(deadline, before, is_ready)?;
            }
            Note::Signalled { event } => {
                let event = &mut self.events[event];
                event.signals += 1;
                if let Some(waiter) = event.waiter.take() {
                    self.wake(waiter);
                }
            }
            Note::Taken { event, signals } => {
                let expected = core::mem::take(&mut self.events[event].signals);
                expect(signals == expected, || {
                    format!("event {event} had {signals} signals, not {expected}")
                })?;
            }
            Note::WaitBegun { event, is_refused } => {
                let was_awaited = core::mem::replace(&mut self.events[event].is_awaited, true);
                expect(is_refused == was_awaited, || {
                    format!("event {event}, awaited: {was_awaited}")
                })?;
            }
            Note::WaitPolled { event, signals } => {
                let current = self.current()?;
                let event = &mut self.events[event];
                let expected = (event.signals > 0).then_some(event.signals);
                event.signals = 0;
                event.waiter = expected.is_none().then_some(current);
                expect(signals == expected, || {
                    format!("the wait returned {signals:?}, not {expected:?}")
                })?;
            }
            Note::WaitDropped { event } => {
                self.events[event].is_awaited = false;
                self.events[event].waiter = None;
            }
            Note::Ended {
                tasks,
                deadline,
                alarm,
            } => {
                self.check_end()?;
                expect((tasks, deadline, alarm) == (0, None, None), || {
                    format!("{tasks} tasks are left, next deadline {deadline:?}, alarm {alarm:?}")
                })?;
            }
        }
        Ok(())
    }

    /// Checks that what must be dropped is dropped before anything else happens. (A future that is
    /// dropped drops what it awaits.)
    fn check_owed(&self, note: Note) -> Check {
        let Some(&owed) = self.owed.last() else {
            return Ok(());
        };
        let is_drop = match note {
            Note::FutureDropped { .. } => matches!(owed, Owed::Future(..)),
            Note::OutputDropped { .. }
            | Note::HandleDropped { .. }
            | Note::WaitDropped { .. }
            | Note::TimerDropped { .. } => matches!(owed, Owed::Output(..)),
            _ => false,
        };
        expect(is_drop, || format!("{owed:?} must be dropped first"))
    }

    /// Follows a reading of the clock, in which time may have passed.
    fn read(&mut self, now: u64, has_passed: bool) -> Check {
        let is_right = now >= self.now && (now == self.now || has_passed || !self.is_exact);
        let before = core::mem::replace(&mut self.now, now);
        expect(is_right, || format!("the time is {now} after {before}"))
    }

    /// The task that is being polled.
    fn current(&self) -> Result<usize, String> {
        self.polled
            .last()
            .copied()
            .ok_or_else(|| "no task is being polled".to_string())
    }

    fn check_none_left(&self, place: usize, is_meant: impl Fn(&Task) -> bool) -> Check {
        let left = self
            .tasks
            .iter()
            .position(|task| task.place == place && task.is_live() && is_meant(task));
        expect(left.is_none(), || format!("task {left:?} has not ended"))
    }

    fn check_end(&self) -> Check {
        let left = self.tasks.iter().position(|task| !task.is_over());
        expect(left.is_none(), || format!("task {left:?} is not over"))?;
        let is_settled = self.timers.iter().all(|timer| !timer.is_linked())
            && self.events.iter().all(|event| !event.is_awaited);
        expect(is_settled, || "a timer or a wait is left".into())
    }
}
