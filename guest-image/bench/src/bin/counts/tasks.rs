//! The tasks that are counted, the same for every runtime.

use core::{
    cell::{Cell, OnceCell, RefCell},
    mem,
    pin::Pin,
    sync::atomic::{AtomicU8, AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
};

use alloc::{rc::Rc, vec::Vec};
use critical_section::Mutex;

/// What polls of [`Idle`] do: keep the waker, nothing, or count.
static MODE: AtomicU8 = AtomicU8::new(KEEP);
const KEEP: u8 = 0;
const NOTHING: u8 = 1;
const COUNT: u8 = 2;

static POLLS: AtomicUsize = AtomicUsize::new(0);

static WAKERS: Mutex<RefCell<Vec<Option<Waker>>>> = Mutex::new(RefCell::new(Vec::new()));

/// A task that keeps its waker at its first poll, and does nothing at the others.
pub(crate) struct Idle {
    index: usize,
}

impl Idle {
    /// The task of this number.
    #[inline]
    pub(crate) fn new(index: usize) -> Self {
        Self { index }
    }

    #[cold]
    #[inline(never)]
    fn poll_seldom(&self, cx: &mut Context<'_>) {
        if MODE.load(Ordering::Relaxed) == COUNT {
            POLLS.fetch_add(1, Ordering::Relaxed);
            return;
        }
        keep_waker(self.index, cx.waker());
    }
}

/// Keeps a task's waker for [`wakers`], in the task's first poll.
pub(crate) fn keep_waker(index: usize, waker: &Waker) {
    critical_section::with(|cs| {
        WAKERS.borrow_ref_mut(cs)[index] = Some(waker.clone());
    });
}

impl Future for Idle {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if MODE.load(Ordering::Relaxed) != NOTHING {
            self.poll_seldom(cx);
        }
        Poll::Pending
    }
}

/// The wakers of `n` new tasks, which `first_polls` polls for the first time. They [keep](keep_waker) them
/// then, as [`Idle`] does.
pub(crate) fn wakers(n: usize, first_polls: impl FnOnce()) -> Vec<Waker> {
    critical_section::with(|cs| {
        let mut wakers = WAKERS.borrow_ref_mut(cs);
        wakers.clear();
        wakers.resize(n, None);
    });
    MODE.store(KEEP, Ordering::Relaxed);
    first_polls();
    MODE.store(NOTHING, Ordering::Relaxed);
    let kept = critical_section::with(|cs| WAKERS.take(cs));
    let polled = |waker: Option<Waker>| waker.expect("every task is polled at first");
    kept.into_iter().map(polled).collect()
}

/// How often [`Idle`] tasks are polled in `work`.
pub(crate) fn polls(work: impl FnOnce()) -> usize {
    POLLS.store(0, Ordering::Relaxed);
    MODE.store(COUNT, Ordering::Relaxed);
    work();
    MODE.store(NOTHING, Ordering::Relaxed);
    POLLS.load(Ordering::Relaxed)
}

/// Two tasks that wake each other, so long as there are switches left.
pub(crate) struct Pair([Seat; 2]);

/// What one of a pair knows.
#[derive(Clone)]
pub(crate) struct Seat {
    left: Rc<Cell<usize>>,
    over: Rc<Cell<bool>>,
    own: Rc<OnceCell<Waker>>,
    other: Rc<OnceCell<Waker>>,
}

impl Pair {
    /// A pair with no switches left.
    pub(crate) fn new() -> Self {
        let first = Seat {
            left: Rc::default(),
            over: Rc::default(),
            own: Rc::default(),
            other: Rc::default(),
        };
        let mut second = first.clone();
        mem::swap(&mut second.own, &mut second.other);
        Self([first, second])
    }

    /// The two tasks.
    pub(crate) fn players(&self) -> [Player; 2] {
        self.0.clone().map(Player::Playing)
    }

    /// Wakes the first of them; as many wakes follow.
    #[inline]
    pub(crate) fn start(&self, switches: usize) {
        self.0[0].left.set(switches);
        self.0[0].wake();
    }

    /// How many switches are left.
    #[inline]
    pub(crate) fn left(&self) -> usize {
        self.0[0].left.get()
    }

    /// Has both end when they are polled.
    pub(crate) fn end(&self) {
        self.0[0].over.set(true);
        self.0.iter().for_each(Seat::wake);
    }
}

impl Seat {
    #[inline]
    fn wake(&self) {
        self.own.get().expect("it has been polled").wake_by_ref();
    }
}

/// One of a [`Pair`], or one that lies idle beside it.
pub(crate) enum Player {
    Playing(Seat),
    Beside(Idle),
}

impl Future for Player {
    type Output = ();

    /// Wakes the other one. If there is no switch left, as at the first poll, keeps the waker.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self {
            Self::Playing(seat) => match (seat.left.get(), seat.other.get()) {
                (left @ 1.., Some(other)) => {
                    seat.left.set(left - 1);
                    other.wake_by_ref();
                }
                _ if seat.over.get() => return Poll::Ready(()),
                _ => {
                    seat.own.get_or_init(|| cx.waker().clone());
                }
            },
            Self::Beside(idle) => return Pin::new(idle).poll(cx),
        }
        Poll::Pending
    }
}

/// A task that ends at its first poll, with its number.
pub(crate) struct Ending(pub(crate) usize);

impl Future for Ending {
    type Output = usize;

    #[inline]
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<usize> {
        Poll::Ready(self.0)
    }
}
