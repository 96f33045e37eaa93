//! Giving the others a turn.

use core::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Lets every other task that is ready have its turn, and goes on after that.
///
/// # Cancel safety
///
/// Dropping it has no effect beyond, perhaps, one poll of the task for nothing.
///
/// ```
/// # use dormir::{block_on, executor::yield_now, platform::host::Skip};
/// block_on(async { yield_now().await }, Skip);
/// ```
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "nothing is yielded until it is awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
