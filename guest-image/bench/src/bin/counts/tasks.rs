//! The tasks whose polls are counted, the same for every runtime.

use core::{
    cell::{Cell, OnceCell, RefCell},
    mem,
    pin::Pin,
    sync::atomic::{AtomicU8, AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
};

use alloc::{rc::Rc, vec::Vec};
use critical_section::Mutex;

/// What a poll of [`IdleTask`] does: keep the waker, nothing, or count.
static MODE: AtomicU8 = AtomicU8::new(KEEP);
const KEEP: u8 = 0;
const NOTHING: u8 = 1;
const COUNT: u8 = 2;

static POLLS: AtomicUsize = AtomicUsize::new(0);

static WAKERS: Mutex<RefCell<Vec<Option<Waker>>>> = Mutex::new(RefCell::new(Vec::new()));

/// A task that keeps its waker in its first poll, and does nothing in later ones.
pub(crate) struct IdleTask {
    index: usize,
}

impl IdleTask {
    /// Makes the task with this index.
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

/// Stores a task's waker for [`wakers`]. A task calls this in its first poll.
pub(crate) fn keep_waker(index: usize, waker: &Waker) {
    critical_section::with(|cs| {
        WAKERS.borrow_ref_mut(cs)[index] = Some(waker.clone());
    });
}

impl Future for IdleTask {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if MODE.load(Ordering::Relaxed) != NOTHING {
            self.poll_seldom(cx);
        }
        Poll::Pending
    }
}

/// Returns the wakers of `n` new tasks, which `first_polls` polls for the first time. They
/// [store](keep_waker) them in that poll, as [`IdleTask`] does.
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

/// Counts the polls of [`IdleTask`]s during `work`.
pub(crate) fn polls(work: impl FnOnce()) -> usize {
    POLLS.store(0, Ordering::Relaxed);
    MODE.store(COUNT, Ordering::Relaxed);
    work();
    MODE.store(NOTHING, Ordering::Relaxed);
    POLLS.load(Ordering::Relaxed)
}

/// Two tasks that wake each other as long as switches remain.
pub(crate) struct PingPong([PingPongSlot; 2]);

/// What one of the two tasks holds: its own waker and the other's.
#[derive(Clone)]
pub(crate) struct PingPongSlot {
    left: Rc<Cell<usize>>,
    over: Rc<Cell<bool>>,
    own: Rc<OnceCell<Waker>>,
    other: Rc<OnceCell<Waker>>,
}

impl PingPong {
    /// Makes a pair with no switches remaining.
    pub(crate) fn new() -> Self {
        let first = PingPongSlot {
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
    pub(crate) fn tasks(&self) -> [PingPongTask; 2] {
        self.0.clone().map(PingPongTask::Active)
    }

    /// Wakes the first task; `switches` wakes follow.
    #[inline]
    pub(crate) fn start(&self, switches: usize) {
        self.0[0].left.set(switches);
        self.0[0].wake();
    }

    /// Returns how many switches remain.
    #[inline]
    pub(crate) fn left(&self) -> usize {
        self.0[0].left.get()
    }

    /// Makes both tasks complete at their next poll.
    pub(crate) fn end(&self) {
        self.0[0].over.set(true);
        self.0.iter().for_each(PingPongSlot::wake);
    }
}

impl PingPongSlot {
    #[inline]
    fn wake(&self) {
        self.own.get().expect("it has been polled").wake_by_ref();
    }
}

/// One of the two tasks of a [`PingPong`], or an idle task beside them.
pub(crate) enum PingPongTask {
    Active(PingPongSlot),
    Idle(IdleTask),
}

impl Future for PingPongTask {
    type Output = ();

    /// Wakes the other task. If no switch remains, as in the first poll, keeps the waker.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self {
            Self::Active(slot) => match (slot.left.get(), slot.other.get()) {
                (left @ 1.., Some(other)) => {
                    slot.left.set(left - 1);
                    other.wake_by_ref();
                }
                _ if slot.over.get() => return Poll::Ready(()),
                _ => {
                    slot.own.get_or_init(|| cx.waker().clone());
                }
            },
            Self::Idle(idle) => return Pin::new(idle).poll(cx),
        }
        Poll::Pending
    }
}

/// A task that completes in its first poll, with its index.
pub(crate) struct EndingTask(pub(crate) usize);

impl Future for EndingTask {
    type Output = usize;

    #[inline]
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<usize> {
        Poll::Ready(self.0)
    }
}
