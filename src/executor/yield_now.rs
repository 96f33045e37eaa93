//! [`yield_now`], which lets other tasks run.

use core::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Wakes the calling task and lets every other ready task be polled once before it continues.
///
/// # Cancel safety
///
/// Dropping the future has no effect, except that the task may be polled once more.
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Up64, yield_now};
///
/// dormir::tasks! {
///     /// Two of them print in turn: left 1, right 1, left 2, right 2.
///     async fn count(name: &'static str), pool = 2 {
///         for n in 1..=2 {
///             println!("{name} {n}");
///             yield_now().await;
///         }
///     }
/// }
/// # static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// # EXECUTOR.remote().spawn_detached(count("left"))?;
/// # EXECUTOR.remote().spawn_detached(count("right"))?;
/// # EXECUTOR.enter()?.run(dormir::platform::host::Skip);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future that [`yield_now`] returns.
///
/// # Examples
///
/// ```
/// use dormir::executor::{YieldNow, yield_now};
///
/// /// Lets other tasks run after every 64th step.
/// async fn steps(count: u32) {
///     for step in 1..=count {
///         if step % 64 == 0 {
///             let turn: YieldNow = yield_now();
///             turn.await;
///         }
///     }
/// }
/// # dormir::block_on(steps(1000), dormir::platform::host::Skip);
/// ```
#[derive(Debug)]
#[must_use = "a future does nothing until it is awaited"]
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
