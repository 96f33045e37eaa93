//! What tasks await, and how that is noted.

use core::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use dormir::{
    event::Wait,
    executor::JoinHandle,
    time::{Instant, Ticker, Timer, TimerQueue, WithDeadline},
};

use super::{
    actor::Output,
    alloc::{boxed::Box, sync::Arc, task::Wake},
    note::Note,
    program::{EVENTS, Leaf},
    world::{self, BoxedFuture, EVENT, note, now, units},
};

/// One future, or two of which the first to end ends both.
pub(crate) struct Leaves(One, Option<One>);

impl Leaves {
    pub(crate) fn one(leaf: Leaf) -> Self {
        Self(One::new(leaf), None)
    }

    pub(crate) fn two(first: Leaf, second: Leaf) -> Self {
        Self(One::new(first), Some(One::new(second)))
    }

    /// A timer that is set to another deadline after its first poll.
    pub(crate) fn reset(first: u64, then: u64) -> Self {
        let mut noted = NotedTimer::new(now() + units(first), false);
        noted.then = Some(now() + units(then));
        Self(One::Timer(noted), None)
    }
}

impl Future for Leaves {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.poll(cx) || self.1.as_mut().is_some_and(|second| second.poll(cx)) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

enum One {
    Timer(NotedTimer),
    Event(NotedWait),
    Join(NotedHandle),
    Yield(dormir::executor::YieldNow, bool),
    Embassy(u64, BoxedFuture),
    Ready,
    Never,
}

impl One {
    fn new(leaf: Leaf) -> Self {
        match leaf {
            Leaf::Sleep { units, is_recorded } => {
                Self::Timer(NotedTimer::new(now() + world::units(units), is_recorded))
            }
            Leaf::Event(number) => {
                let event = number % EVENTS;
                let wait = EVENT[event].wait();
                let is_refused = wait.is_err();
                note(Note::WaitBegun { event, is_refused });
                match wait {
                    Ok(wait) => Self::Event(NotedWait { event, wait }),
                    Err(_) => Self::Ready,
                }
            }
            Leaf::Join(number) => match world::take_handle(number) {
                Some((task, handle)) => Self::Join(NotedHandle {
                    task,
                    handle: Some(handle),
                }),
                None => Self::Ready,
            },
            Leaf::Yield => Self::Yield(dormir::executor::yield_now(), false),
            Leaf::Embassy(number) => {
                let deadline = (now() + units(number)).next_multiple_of(1000);
                match world::with(|state| state.machine.embassy) {
                    Some(embassy) => Self::Embassy(deadline, embassy(deadline)),
                    None => Self::Timer(NotedTimer::new(deadline, false)),
                }
            }
            Leaf::Never => Self::Never,
        }
    }

    /// Polls it. Returns whether it has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::Timer(timer) => timer.poll(cx),
            Self::Event(wait) => {
                let polled = Pin::new(&mut wait.wait).poll(cx);
                let signals = match polled {
                    Poll::Ready(signals) => Some(signals),
                    Poll::Pending => None,
                };
                let event = wait.event;
                note(Note::WaitPolled { event, signals });
                signals.is_some()
            }
            Self::Join(handle) => handle.poll(cx),
            Self::Yield(yields, has_yielded) => {
                if !*has_yielded {
                    // It wakes the task in whose context it is.
                    *has_yielded = true;
                    note(Note::Yielded);
                }
                Pin::new(yields).poll(cx).is_ready()
            }
            Self::Embassy(deadline, timer) => {
                let before = now();
                let is_ready = timer.as_mut().poll(cx).is_ready();
                note(Note::EmbassyPolled {
                    deadline: *deadline,
                    before,
                    after: now(),
                    is_ready,
                });
                is_ready
            }
            Self::Ready => true,
            Self::Never => false,
        }
    }
}

struct NotedTimer {
    number: usize,
    is_recorded: bool,
    /// The deadline that it is set to after the first poll.
    then: Option<u64>,
    timer: Pin<Box<Timer>>,
}

impl NotedTimer {
    fn new(deadline: u64, is_recorded: bool) -> Self {
        Self {
            number: world::new_timer(),
            is_recorded,
            then: None,
            timer: Box::pin(Timer::at(Instant::from_nanos(deadline))),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let recorder;
        let waker = if self.is_recorded {
            recorder = Waker::from(Arc::new(Recorder {
                timer: self.number,
                waker: cx.waker().clone(),
            }));
            &recorder
        } else {
            cx.waker()
        };
        let before = now();
        let polled = self.timer.as_mut().poll(&mut Context::from_waker(waker));
        note(Note::TimerPolled {
            timer: self.number,
            deadline: self.timer.deadline().as_nanos(),
            is_recorded: self.is_recorded,
            before,
            after: now(),
            is_ready: polled.is_ready(),
        });
        let Some(then) = self.then.take() else {
            return polled.is_ready();
        };
        self.timer.as_mut().reset(Instant::from_nanos(then));
        note(Note::TimerReset { timer: self.number });
        self.poll(cx)
    }
}

impl Drop for NotedTimer {
    fn drop(&mut self) {
        note(Note::TimerDropped { timer: self.number });
    }
}

/// A waker that notes its wake.
struct Recorder {
    timer: usize,
    waker: Waker,
}

impl Wake for Recorder {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        note(Note::TimerFired {
            timer: self.timer,
            now: now(),
        });
        self.waker.wake_by_ref();
    }
}

struct NotedWait {
    event: usize,
    wait: Wait<'static>,
}

impl Drop for NotedWait {
    fn drop(&mut self) {
        note(Note::WaitDropped { event: self.event });
    }
}

struct NotedHandle {
    task: usize,
    handle: Option<JoinHandle<Output>>,
}

impl NotedHandle {
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let task = self.task;
        let handle = self.handle.as_mut().expect("it has not ended");
        match Pin::new(handle).poll(cx) {
            Poll::Pending => {
                note(Note::Joined { task, end: None });
                false
            }
            Poll::Ready(end) => {
                let noted = Some(world::noted_end(&end));
                note(Note::Joined { task, end: noted });
                self.handle = None;
                true
            }
        }
    }
}

impl Drop for NotedHandle {
    fn drop(&mut self) {
        if self.handle.is_some() {
            note(Note::HandleDropped { task: self.task });
        }
    }
}

/// A future with a time limit.
pub(crate) struct Limited {
    timer: usize,
    deadline: u64,
    future: Pin<Box<WithDeadline<Leaves>>>,
}

impl Limited {
    pub(crate) fn new(leaf: Leaf, limit: u64) -> Self {
        let deadline = now() + units(limit);
        let leaves = Leaves::one(leaf);
        let at = Instant::from_nanos(deadline);
        Self {
            timer: world::new_timer(),
            deadline,
            future: Box::pin(TimerQueue::global().with_deadline(at, leaves)),
        }
    }
}

impl Future for Limited {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let before = now();
        let polled = self.future.as_mut().poll(cx);
        if !matches!(polled, Poll::Ready(Ok(()))) {
            // The future was pending, and the timer has been polled.
            note(Note::TimerPolled {
                timer: self.timer,
                deadline: self.deadline,
                is_recorded: false,
                before,
                after: now(),
                is_ready: polled.is_ready(),
            });
        }
        polled.map(|_| ())
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        note(Note::TimerDropped { timer: self.timer });
    }
}

/// The next tick of a ticker.
pub(crate) struct Tick<F> {
    timer: usize,
    due: u64,
    period: u64,
    next: F,
}

impl<'a> Tick<Pin<Box<dyn Future<Output = u64> + Send + 'a>>> {
    pub(crate) fn new(ticker: &'a mut Ticker) -> Self {
        Self {
            timer: world::new_timer(),
            due: ticker.deadline().as_nanos(),
            period: ticker.period().as_nanos() as u64,
            next: Box::pin(ticker.next()),
        }
    }
}

impl<F: Future<Output = u64> + Unpin> Future for Tick<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let before = now();
        let polled = Pin::new(&mut self.next).poll(cx);
        let after = now();
        note(Note::TimerPolled {
            timer: self.timer,
            deadline: self.due,
            is_recorded: false,
            before,
            after,
            is_ready: polled.is_ready(),
        });
        polled.map(|missed| {
            let Self { due, period, .. } = *self;
            note(Note::Ticked {
                due,
                period,
                missed,
                before,
                after,
            });
        })
    }
}

impl<F> Drop for Tick<F> {
    fn drop(&mut self) {
        note(Note::TimerDropped { timer: self.timer });
    }
}
