//! What the tasks do: the same futures in every runtime.
//!
//! Everything is `Send`, since Tokio requires that. It costs nothing: the atomics use relaxed loads
//! and stores, which are plain moves.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// How many polls remain in the current round.
///
/// Each poll of each task decrements it, so a poll too many or too few is detected at once: the
/// figures cover exactly the polls that they name.
#[derive(Default)]
pub(crate) struct Gate {
    left: AtomicU64,
    /// Woken by the last poll of a round, if the main line waits in the runtime.
    main_line: OnceLock<Waker>,
}

impl Gate {
    /// Makes a leaked gate.
    pub(crate) fn leak() -> &'static Self {
        Box::leak(Box::default())
    }

    /// Begins a round with the given number of polls.
    pub(crate) fn arm(&self, polls: u64) {
        self.left.store(polls, Ordering::Relaxed);
    }

    /// Returns how many polls remain.
    #[inline]
    pub(crate) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Makes the last poll of each round wake the main line.
    pub(crate) fn wake_main_line(&self, waker: &Waker) {
        let known = self.main_line.get_or_init(|| waker.clone());
        // Not `will_wake`: it also compares vtables, which may be duplicated.
        assert_eq!(
            known.data(),
            waker.data(),
            "a runtime has one waker for its main line"
        );
    }

    /// Called by each poll. Returns whether more polls remain.
    #[inline]
    pub(crate) fn count_down(&self) -> bool {
        let left = self
            .left()
            .checked_sub(1)
            .expect("a task was polled without a wake");
        self.left.store(left, Ordering::Relaxed);
        if left == 0
            && let Some(waker) = self.main_line.get()
        {
            waker.wake_by_ref();
        }
        left > 0
    }
}

/// The tasks of an executor: their gate, and a slot for each one's waker.
pub(crate) struct Board {
    pub(crate) gate: Gate,
    wakers: Box<[OnceLock<Waker>]>,
}

impl Board {
    /// Makes a leaked board for the given number of tasks.
    pub(crate) fn leak(tasks: usize) -> &'static Self {
        Box::leak(Box::new(Self {
            gate: Gate::default(),
            wakers: (0..tasks).map(|_| OnceLock::new()).collect(),
        }))
    }

    /// Returns the waker of the task at `slot`, which was polled once.
    #[inline]
    pub(crate) fn waker(&self, slot: usize) -> &Waker {
        self.wakers[slot]
            .get()
            .expect("each task stores its waker in its first poll")
    }
}

/// Stores its waker in its first poll, and never completes.
pub(crate) struct Parked {
    board: &'static Board,
    waker: &'static OnceLock<Waker>,
}

impl Parked {
    pub(crate) fn new(board: &'static Board, slot: usize) -> Self {
        let waker = &board.wakers[slot];
        Self { board, waker }
    }
}

impl Future for Parked {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.get_or_init(|| cx.waker().clone());
        self.board.gate.count_down();
        Poll::Pending
    }
}

/// Stores its waker in its first poll, wakes its peer in each further one, and never completes.
/// Slots 0 and 1 are each other's peers; the tasks in other slots are never woken.
pub(crate) struct Ping {
    gate: &'static Gate,
    own: &'static OnceLock<Waker>,
    peer: &'static OnceLock<Waker>,
}

impl Ping {
    pub(crate) fn new(board: &'static Board, slot: usize) -> Self {
        Self {
            gate: &board.gate,
            own: &board.wakers[slot],
            peer: &board.wakers[slot ^ 1],
        }
    }
}

impl Future for Ping {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.own.get().is_none() {
            self.own.get_or_init(|| cx.waker().clone());
            self.gate.count_down();
        } else if self.gate.count_down() {
            self.peer
                .get()
                .expect("both were polled once")
                .wake_by_ref();
        }
        Poll::Pending
    }
}

/// Completes in its first poll.
pub(crate) struct Ending(pub(crate) &'static Gate);

impl Future for Ending {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        self.0.count_down();
        Poll::Ready(())
    }
}

/// The output of [`Answering`].
pub(crate) const ANSWER: u64 = 42;

/// Completes in its first poll, with a result.
pub(crate) struct Answering;

impl Future for Answering {
    type Output = u64;

    #[inline]
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<u64> {
        Poll::Ready(ANSWER)
    }
}
