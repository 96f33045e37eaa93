//! A call of an async function, as the runtime polls it.

use std::{
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use dormir_hyperlight_protocol::Status;

use crate::limits::Counted;

/// What a function returns: its result, or an error's message.
pub(crate) type FunctionResult = Result<Vec<u8>, String>;

/// The future of a function.
pub(crate) type FunctionFuture = Pin<Box<dyn Future<Output = FunctionResult> + Send>>;

/// Told how a call has ended. Dropped without that, the call was ended before.
pub(crate) trait OnEnd: Send {
    /// The function is polled for the first time.
    fn begins(&self) {}

    /// The function has ended, and its future is gone.
    fn ended(self: Box<Self>, status: Status, bytes: Vec<u8>);
}

/// A call that was started.
pub(crate) struct CallTask(Mutex<Stage>);

enum Stage {
    Waits {
        running: Running,
        /// Wakes the runtime's task, so that it ends when the call is ended.
        waker: Option<Waker>,
    },
    Polled,
    /// The call was ended while it is polled.
    AbortedInPoll,
    /// The call was ended, and the runtime still has its task.
    Aborted {
        _counted: Arc<Counted>,
    },
    Ended,
}

struct Running {
    future: FunctionFuture,
    on_end: Box<dyn OnEnd>,
    counted: Arc<Counted>,
}

impl Running {
    /// Drops the future, and then what notes the end. If the runtime's task ends with it, the call
    /// is not counted any more when its end is noted.
    fn end(self, status: Option<Status>, bytes: Vec<u8>) {
        let Self {
            future,
            on_end,
            counted,
        } = self;
        // A function of the user, which may panic.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
        drop(counted);
        if let Some(status) = status {
            on_end.ended(status, bytes);
        }
    }
}

impl CallTask {
    /// `counted` is held until the runtime has no task of this call any more.
    pub(crate) fn new(
        future: FunctionFuture,
        on_end: Box<dyn OnEnd>,
        counted: Arc<Counted>,
    ) -> Arc<Self> {
        let running = Running {
            future,
            on_end,
            counted,
        };
        let waker = None;
        Arc::new(Self(Mutex::new(Stage::Waits { running, waker })))
    }

    /// Ends the call: its future is dropped now, or, if it is just polled, after that poll.
    pub(crate) fn abort(&self) {
        let mut stage = self.stage();
        match mem::replace(&mut *stage, Stage::Ended) {
            Stage::Waits { running, waker } => {
                let _counted = Arc::clone(&running.counted);
                *stage = Stage::Aborted { _counted };
                drop(stage);
                running.end(None, Vec::new());
                if let Some(waker) = waker {
                    let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
                }
            }
            Stage::Polled | Stage::AbortedInPoll => *stage = Stage::AbortedInPoll,
            ended @ (Stage::Aborted { .. } | Stage::Ended) => *stage = ended,
        }
    }

    /// The runtime has no task of this call any more.
    fn released(&self) {
        self.abort();
        *self.stage() = Stage::Ended;
    }

    /// Whether it was never polled.
    pub(crate) fn is_new(&self) -> bool {
        matches!(*self.stage(), Stage::Waits { waker: None, .. })
    }

    /// Whether it is just polled.
    pub(crate) fn is_polled(&self) -> bool {
        matches!(*self.stage(), Stage::Polled | Stage::AbortedInPoll)
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        // Nothing panics while it is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut stage = self.stage();
        let before = mem::replace(&mut *stage, Stage::Ended);
        let Stage::Waits { mut running, waker } = before else {
            return Poll::Ready(());
        };
        *stage = Stage::Polled;
        drop(stage);
        if waker.is_none() {
            running.on_end.begins();
        }
        // It is the runtime's, so it is dropped while nothing is locked.
        drop(waker);
        let polled = catch_unwind(AssertUnwindSafe(|| running.future.as_mut().poll(cx)));
        let (status, bytes) = match polled {
            Ok(Poll::Pending) => {
                let waker = Some(cx.waker().clone());
                let mut stage = self.stage();
                if !matches!(*stage, Stage::AbortedInPoll) {
                    *stage = Stage::Waits { running, waker };
                    return Poll::Pending;
                }
                drop(stage);
                (None, Vec::new())
            }
            Ok(Poll::Ready(Ok(bytes))) => (Some(Status::Done), bytes),
            Ok(Poll::Ready(Err(message))) => (Some(Status::Host), shorten(message).into_bytes()),
            Err(_panic) => (Some(Status::Panicked), Vec::new()),
        };
        *self.stage() = Stage::Ended;
        running.end(status, bytes);
        Poll::Ready(())
    }
}

/// The longest error message that a guest is told, in bytes.
const LONGEST_MESSAGE: usize = 1024;

fn shorten(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
    message
}

/// The task, for a runtime. If the runtime drops it, the call is ended.
pub(crate) struct TaskFuture(pub(crate) Arc<CallTask>);

impl Future for TaskFuture {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll(cx)
    }
}

impl Drop for TaskFuture {
    fn drop(&mut self) {
        self.0.released();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Count;
    use std::{
        future::{pending, poll_fn},
        sync::mpsc,
    };

    /// Sends how the call ended; `None` if it was ended before.
    struct Tells(mpsc::Sender<Option<(Status, Vec<u8>)>>, bool);

    impl OnEnd for Tells {
        fn ended(mut self: Box<Self>, status: Status, bytes: Vec<u8>) {
            self.1 = true;
            let _ = self.0.send(Some((status, bytes)));
        }
    }

    impl Drop for Tells {
        fn drop(&mut self) {
            if !self.1 {
                let _ = self.0.send(None);
            }
        }
    }

    type Ends = mpsc::Receiver<Option<(Status, Vec<u8>)>>;

    fn task(future: impl Future<Output = FunctionResult> + Send + 'static) -> (TaskFuture, Ends) {
        let (sender, ends) = mpsc::channel();
        let task = CallTask::new(
            Box::pin(future),
            Box::new(Tells(sender, false)),
            Count::default().add(),
        );
        (TaskFuture(task), ends)
    }

    fn poll(task: &mut TaskFuture) -> Poll<()> {
        Pin::new(task).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn each_end_is_told_once() {
        let (mut done, ends) = task(async { Ok(vec![1]) });
        assert!(poll(&mut done).is_ready() && poll(&mut done).is_ready());
        done.0.abort();
        assert_eq!(
            ends.try_iter().collect::<Vec<_>>(),
            [Some((Status::Done, vec![1]))]
        );
        let (mut fails, ends) = task(async { Err("é".repeat(600)) });
        assert!(poll(&mut fails).is_ready());
        let (status, message) = ends.try_recv().expect("it ended").expect("by itself");
        assert_eq!((status, message.len()), (Status::Host, LONGEST_MESSAGE));
        let (mut panics, ends) = task(async { panic!("on purpose") });
        assert!(poll(&mut panics).is_ready());
        assert_eq!(
            ends.try_iter().collect::<Vec<_>>(),
            [Some((Status::Panicked, vec![]))]
        );
    }

    #[test]
    fn an_abort_drops_the_future_at_once() {
        struct PanicsInDrop;
        impl Drop for PanicsInDrop {
            fn drop(&mut self) {
                panic!("on purpose");
            }
        }
        let held = PanicsInDrop;
        let (mut waits, ends) = task(async move {
            let _held = held;
            pending().await
        });
        assert!(poll(&mut waits).is_pending());
        waits.0.abort();
        assert_eq!(ends.try_iter().collect::<Vec<_>>(), [None]);
        assert!(poll(&mut waits).is_ready());
        // By the runtime, before the first poll.
        let (dropped, ends) = task(pending());
        drop(dropped);
        assert_eq!(ends.try_iter().collect::<Vec<_>>(), [None]);
    }

    #[test]
    fn an_abort_during_a_poll_comes_after_it() {
        let (sender, receiver) = mpsc::channel::<Arc<CallTask>>();
        let (mut aborts, ends) = task(poll_fn(move |_| {
            let own = receiver.recv().expect("it was sent");
            own.abort();
            Poll::Pending
        }));
        sender.send(Arc::clone(&aborts.0)).expect("it is there");
        assert!(poll(&mut aborts).is_ready());
        assert_eq!(ends.try_iter().collect::<Vec<_>>(), [None]);
    }
}
