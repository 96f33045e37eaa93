//! What the tasks do: the same futures in every runtime.
//!
//! Everything is `Send`, since Tokio asks for that, and costs nothing for it: the atomics are loaded and
//! stored relaxed, which are plain moves.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// How many polls the present round still has to see.
///
/// Each poll of each task counts one down, so a poll too many or too few is found at once: the figures
/// are of exactly the polls that they name.
#[derive(Default)]
pub(crate) struct Gate {
    left: AtomicU64,
    /// Woken by the last poll of a round, where the runtime has the main line wait for it.
    main_line: OnceLock<Waker>,
}

impl Gate {
    /// A gate for good.
    pub(crate) fn leak() -> &'static Self {
        Box::leak(Box::default())
    }

    /// Begins a round of that many polls.
    pub(crate) fn arm(&self, polls: u64) {
        self.left.store(polls, Ordering::Relaxed);
    }

    /// How many polls are left.
    #[inline]
    pub(crate) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Has the last poll of each round wake the main line.
    pub(crate) fn wake_main_line(&self, waker: &Waker) {
        let known = self.main_line.get_or_init(|| waker.clone());
        // Not `will_wake`: it compares vtables too, and one may be there more than once.
        assert_eq!(
            known.data(),
            waker.data(),
            "a runtime has one waker for its main line"
        );
    }

    /// Called by each poll. Says whether more are to come.
    #[inline]
    pub(crate) fn count_down(&self) -> bool {
        let left = self
            .left()
            .checked_sub(1)
            .expect("a task was polled that nobody had woken");
        self.left.store(left, Ordering::Relaxed);
        if left == 0
            && let Some(waker) = self.main_line.get()
        {
            waker.wake_by_ref();
        }
        left > 0
    }
}

/// The tasks of an executor: their gate, and where each leaves its waker.
pub(crate) struct Board {
    pub(crate) gate: Gate,
    wakers: Box<[OnceLock<Waker>]>,
}

impl Board {
    /// A board for good, for that many tasks.
    pub(crate) fn leak(tasks: usize) -> &'static Self {
        Box::leak(Box::new(Self {
            gate: Gate::default(),
            wakers: (0..tasks).map(|_| OnceLock::new()).collect(),
        }))
    }

    /// The waker of the task at `place`, which was polled once.
    #[inline]
    pub(crate) fn waker(&self, place: usize) -> &Waker {
        self.wakers[place]
            .get()
            .expect("each task leaves its waker at its first poll")
    }
}

/// Leaves its waker at its first poll, and never ends.
pub(crate) struct Parked {
    board: &'static Board,
    waker: &'static OnceLock<Waker>,
}

impl Parked {
    pub(crate) fn new(board: &'static Board, place: usize) -> Self {
        let waker = &board.wakers[place];
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

/// Leaves its waker at its first poll, wakes its peer at each further one, and never ends. Places 0 and
/// 1 are each other's peers; the tasks at other places are never woken.
pub(crate) struct Ping {
    gate: &'static Gate,
    own: &'static OnceLock<Waker>,
    peer: &'static OnceLock<Waker>,
}

impl Ping {
    pub(crate) fn new(board: &'static Board, place: usize) -> Self {
        Self {
            gate: &board.gate,
            own: &board.wakers[place],
            peer: &board.wakers[place ^ 1],
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

/// Ends at its first poll.
pub(crate) struct Ending(pub(crate) &'static Gate);

impl Future for Ending {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        self.0.count_down();
        Poll::Ready(())
    }
}

/// What [`Answering`] ends with.
pub(crate) const ANSWER: u64 = 42;

/// Ends at its first poll, with a result.
pub(crate) struct Answering;

impl Future for Answering {
    type Output = u64;

    #[inline]
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<u64> {
        Poll::Ready(ANSWER)
    }
}
