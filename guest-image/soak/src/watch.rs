//! Futures whose wakes are on the [board](crate::board), and a fault that loses some of them.

use alloc::{sync::Arc, task::Wake};
use core::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
};

use dormir::time::Instant;

use crate::board::{Kind, Wait};

/// The kind of which wakes are lost on purpose, if it is one.
static LOSES: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Of how many wakes one is lost.
static EACH: AtomicU64 = AtomicU64::new(u64::MAX);

/// Loses one in `each` wakes of this kind, so that it is seen to be found.
pub(crate) fn lose(kind: Kind, each: u64) {
    LOSES.store(kind as usize, Ordering::Relaxed);
    EACH.store(each, Ordering::Relaxed);
}

/// A task's waker that forgets some wakes.
struct Lossy(Waker);

impl Wake for Lossy {
    fn wake(self: Arc<Self>) {
        static WAKES: AtomicU64 = AtomicU64::new(0);
        let number = WAKES.fetch_add(1, Ordering::Relaxed) + 1;
        if !number.is_multiple_of(EACH.load(Ordering::Relaxed)) {
            self.0.wake_by_ref();
        }
    }
}

/// Awaits a future that ends with one wake, which is issued by `due`.
pub(crate) async fn watch<F: Future>(kind: Kind, due: Instant, future: F) -> F::Output {
    watch_wait(Wait::begin(kind, Some(due)), future).await
}

/// The same for a wait that has begun.
pub(crate) async fn watch_wait<F: Future>(wait: Wait, future: F) -> F::Output {
    let mut future = pin!(future);
    let is_lossy = LOSES.load(Ordering::Relaxed) == wait.kind as usize;
    let (mut wait, mut was_woken) = (Some(wait), false);
    poll_fn(|cx| {
        let polled = if is_lossy {
            let waker = Waker::from(Arc::new(Lossy(cx.waker().clone())));
            future.as_mut().poll(&mut Context::from_waker(&waker))
        } else {
            future.as_mut().poll(cx)
        };
        if polled.is_pending() {
            was_woken = true;
            return Poll::Pending;
        }
        if let Some(wait) = wait.take() {
            wait.end(was_woken);
        }
        polled
    })
    .await
}
