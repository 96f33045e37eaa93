//! How long a request may take.

use core::time::Duration;

use dormir::time::with_timeout;
use dormir_devices_guest::random::Random;

use crate::tasks::poll_once;

/// The longest time after which a request is dropped, in microseconds.
const MOST_MICROS: u64 = 300;

/// Awaits a request, or drops it in a third of all cases. `None`: it was dropped.
pub(super) async fn maybe_drop<F: Future>(random: &mut Random, request: F) -> Option<F::Output> {
    match random.below(9) {
        0 | 1 => poll_once(request).await,
        2 => {
            let limit = Duration::from_micros(random.below(MOST_MICROS));
            with_timeout(limit, request).await.ok()
        }
        _ => Some(request.await),
    }
}
