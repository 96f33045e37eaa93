//! What is noted while a program runs.

/// Tasks, places and timers are numbered in the order in which they are made. A place is a loop
/// that polls tasks: that of an executor, or a `block_on`. Times are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Note {
    /// A runner enters its executor, or a `block_on` begins.
    Opened {
        place: usize,
        how: Loop,
    },
    /// The place's loop has returned since there is no task left.
    Closed {
        place: usize,
    },
    /// The runner is being dropped.
    Leaving {
        place: usize,
    },
    /// It is.
    Left {
        place: usize,
    },
    /// The loop is about to wait.
    Waits {
        place: usize,
        deadline: Option<u64>,
        now: u64,
    },
    /// The wait is over.
    Woken {
        now: u64,
    },
    /// Time has passed in a poll.
    Advanced {
        now: u64,
    },

    Spawned {
        task: usize,
        place: usize,
        is_local: bool,
        is_joinable: bool,
        is_pooled: bool,
        is_refused: bool,
    },
    /// A poll begins. `slot` is the data pointer of the task's wakers.
    Polled {
        task: usize,
        slot: usize,
        now: u64,
    },
    Returned {
        task: usize,
        is_ready: bool,
    },
    Panicked {
        task: usize,
    },
    FutureDropped {
        task: usize,
    },
    OutputDropped {
        task: usize,
    },
    /// A waker that the task was polled with is woken.
    Woke {
        task: usize,
    },
    /// The task that is being polled wakes itself.
    Yielded,
    Aborted {
        task: usize,
    },
    /// Its handle is asked, or polled; `end` is the task whose output it returns.
    Asked {
        task: usize,
        has_ended: bool,
    },
    Joined {
        task: usize,
        end: Option<End>,
    },
    HandleDropped {
        task: usize,
    },

    /// A timer is polled, between these two instants.
    TimerPolled {
        timer: usize,
        deadline: u64,
        is_recorded: bool,
        before: u64,
        after: u64,
        is_ready: bool,
    },
    /// The queue wakes a timer's recorded waker.
    TimerFired {
        timer: usize,
        now: u64,
    },
    TimerReset {
        timer: usize,
    },
    TimerDropped {
        timer: usize,
    },
    /// A ticker's tick came, when it had missed that many.
    Ticked {
        due: u64,
        period: u64,
        missed: u64,
        before: u64,
        after: u64,
    },
    /// One of embassy-time's timers is polled.
    EmbassyPolled {
        deadline: u64,
        before: u64,
        after: u64,
        is_ready: bool,
    },

    Signalled {
        event: usize,
    },
    Taken {
        event: usize,
        signals: u32,
    },
    /// Somebody asks to wait for the event.
    WaitBegun {
        event: usize,
        is_refused: bool,
    },
    WaitPolled {
        event: usize,
        signals: Option<u32>,
    },
    WaitDropped {
        event: usize,
    },

    /// The program is over.
    Ended {
        tasks: usize,
        deadline: Option<u64>,
        alarm: Option<u64>,
    },
}

/// How a task ended, as its handle reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With the output of this task.
    Output(usize),
    Aborted,
}

/// What polls the tasks of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loop {
    /// `Runner::run`, or `block_on`.
    Run,
    /// `Runner::run_until_idle`, and a wait by hand.
    UntilIdle,
    /// `Runner::pass`, `TimerQueue::turn`, and a wait by hand.
    Passes,
    /// `Runner::step`, `TimerQueue::turn`, and a wait by hand.
    Steps,
}
