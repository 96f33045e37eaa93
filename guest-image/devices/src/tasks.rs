//! Many futures in one task, and futures that are dropped in flight.

use alloc::{boxed::Box, vec::Vec};
use core::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

/// Runs all futures at once, and returns their outputs in order.
pub(crate) async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<Result<F::Output, Pin<Box<F>>>> = futures
        .into_iter()
        .map(|future| Err(Box::pin(future)))
        .collect();
    poll_fn(|cx| {
        for slot in &mut futures {
            if let Err(future) = slot
                && let Poll::Ready(output) = future.as_mut().poll(cx)
            {
                *slot = Ok(output);
            }
        }
        if futures.iter().any(Result::is_err) {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
    futures.into_iter().filter_map(Result::ok).collect()
}

/// Polls a future once, and drops it. Returns whether it was still pending.
pub(crate) async fn start_and_drop(future: impl Future) -> bool {
    let mut future = Box::pin(future);
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}
