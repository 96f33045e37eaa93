//! The timer cases.
//!
//! n timers are pending. Each round lets the earliest timer expire, arms it again with a new
//! deadline, cancels one timer, and arms that one again. So deadlines come and go as in a program
//! whose tasks sleep, and the queue gets a realistic shape.

use core::{cmp::Reverse, hint::black_box, task::Waker};

use alloc::{collections::BinaryHeap, vec::Vec};

use dormir_bench_guest::{
    figures::{Subject, Tally},
    random::Random,
    stopwatch::Stopwatch,
};

use crate::{
    clock,
    sleepers::{self, SleeperTask},
};

/// The numbers of timers.
pub(crate) const NUMBERS: [usize; 7] = [1, 10, 100, 1000, 4000, 10_000, 100_000];

/// How many rounds there are.
const ROUNDS: usize = 1000;

/// The mean distance between deadlines. Large enough that no two expire together.
const GAP: u64 = 1_000_000_000_000;

/// An executor with timers.
pub(crate) trait Timers {
    /// The runtime's timer.
    type Timer: sleepers::BenchTimer;

    /// Whether a cancelled timer costs instructions at its deadline.
    const CANCELLED_LEAVE: bool;

    /// Spawns a detached task.
    fn spawn(&mut self, task: SleeperTask<Self::Timer>);

    /// One turn of the loop: polls the ready tasks and serves the timers.
    fn turn(&mut self);

    /// Does what the alarm's interrupt handler does, then runs the loop until the task that was due
    /// has been polled.
    fn on_alarm(&mut self);
}

/// `timer_arm`, `timer_fire` and `timer_cancel`, with n timers shared among `tasks` tasks.
pub(crate) fn run(timers: &mut impl Timers, watch: &Stopwatch, subject: &Subject, tasks: usize) {
    let n = black_box(subject.n);
    let mut pending = Pending::fill(timers, watch, n, tasks);
    let [mut arm, mut fire, mut cancel] = [const { Tally::new() }; 3];
    for _ in 0..ROUNDS {
        let fired = pending.earliest();
        fire.add(pending.fire(fired));
        arm.add(pending.arm(fired));
        let cancelled = pending.next_cancelled();
        cancel.add(pending.cancel(cancelled));
        arm.add(pending.arm(cancelled));
    }
    pending.end();
    subject.report_tally("timer_arm", &arm);
    subject.report_tally("timer_fire", &fire);
    subject.report_tally("timer_cancel", &cancel);
}

/// The pending timers, by index.
struct Pending<'a, T> {
    timers: &'a mut T,
    watch: &'a Stopwatch,
    /// One for each task. Timer i belongs to task i modulo the number of tasks.
    wakers: Vec<Waker>,
    /// Each timer's deadline, if it is pending.
    deadlines: Vec<Option<u64>>,
    /// Deadlines and timers, cancelled ones included.
    order: BinaryHeap<Reverse<(u64, usize)>>,
    random: Random,
    /// The timer to which its task has switched last.
    current: Option<usize>,
}

impl<'a, T: Timers> Pending<'a, T> {
    fn fill(timers: &'a mut T, watch: &'a Stopwatch, n: usize, tasks: usize) -> Self {
        let each = n.div_ceil(tasks);
        (0..tasks).for_each(|index| timers.spawn(SleeperTask::new(index, each)));
        let wakers = sleepers::wakers(tasks, || timers.turn());
        let mut pending = Self {
            timers,
            watch,
            wakers,
            deadlines: alloc::vec![None; n],
            order: BinaryHeap::with_capacity(n + 2 * ROUNDS),
            random: Random::seeded(0x9e37_79b9_7f4a_7c15),
            current: None,
        };
        (0..n).for_each(|timer| {
            pending.arm(timer);
        });
        pending
    }

    /// Returns the waker of the timer's task, and the timer's slot there.
    fn slot_of(&self, timer: usize) -> (Waker, usize) {
        let tasks = self.wakers.len();
        (self.wakers[timer % tasks].clone(), timer / tasks)
    }

    /// Makes a timer's task switch to it, and returns the task's waker.
    fn turn_to(&mut self, timer: usize) -> Waker {
        let (waker, slot) = self.slot_of(timer);
        if self.current.replace(timer) != Some(timer) {
            sleepers::turn_to(slot, || {
                waker.wake_by_ref();
                self.timers.turn();
            });
        }
        black_box(waker)
    }

    /// Arms a timer that is not pending; returns the cost of the turn in which its task is polled.
    ///
    /// If it is the timer that fired last, that turn is the first since then, and sets the alarm.
    fn arm(&mut self, timer: usize) -> u64 {
        let waker = self.turn_to(timer);
        let range = GAP * self.deadlines.len() as u64;
        let deadline = clock::now() + GAP + self.random.below(range);
        self.deadlines[timer] = Some(deadline);
        self.order.push(Reverse((deadline, timer)));
        sleepers::arm(deadline, || {
            waker.wake_by_ref();
            self.watch.count(|| self.timers.turn())
        })
    }

    /// Returns the timer with the earliest deadline.
    fn earliest(&mut self) -> usize {
        loop {
            let Reverse((deadline, timer)) = self.order.pop().expect("there is one");
            if self.deadlines[timer] == Some(deadline) {
                self.order.push(Reverse((deadline, timer)));
                return timer;
            }
        }
    }

    /// Lets the earliest timer expire; returns the cost from the alarm to the poll that finds it
    /// ready.
    fn fire(&mut self, timer: usize) -> u64 {
        self.turn_to(timer);
        self.pass_deadline(timer);
        let fire = sleepers::until_ready(self.watch, || self.timers.on_alarm());
        fire.expect("its deadline has passed")
    }

    /// Moves the clock to a timer's deadline.
    fn pass_deadline(&mut self, timer: usize) {
        let deadline = self.deadlines[timer].take().expect("it is pending");
        assert!(clock::alarm() <= deadline, "the alarm is set");
        clock::advance_to(deadline);
    }

    /// Chooses the timer to cancel: the earliest if it costs instructions at its deadline, else a
    /// random one.
    fn next_cancelled(&mut self) -> usize {
        if T::CANCELLED_LEAVE {
            self.earliest()
        } else {
            self.random.below(self.deadlines.len() as u64) as usize
        }
    }

    /// Drops a pending timer; returns the cost, including any at its deadline.
    fn cancel(&mut self, timer: usize) -> u64 {
        let waker = self.turn_to(timer);
        let drop = sleepers::drop_timer(self.watch, || {
            waker.wake_by_ref();
            self.timers.turn();
        });
        if !T::CANCELLED_LEAVE {
            self.deadlines[timer] = None;
            return drop;
        }
        self.pass_deadline(timer);
        drop + self.watch.count(|| self.timers.on_alarm())
    }

    /// Ends all tasks, and moves the clock past every deadline.
    fn end(self) {
        let Self {
            timers,
            wakers,
            order,
            ..
        } = self;
        sleepers::end(|| {
            wakers.iter().for_each(|waker| waker.wake_by_ref());
            timers.turn();
        });
        let last = order.iter().map(|Reverse((deadline, _))| *deadline).max();
        clock::advance_to(last.expect("there is one"));
        timers.on_alarm();
    }
}
