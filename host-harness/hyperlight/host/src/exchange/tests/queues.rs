//! Calls that take several batches.

use super::*;
use std::sync::Barrier;

/// A wait that began before all of them were sent would never end.
#[test]
fn functions_that_wait_for_each_other_are_all_started() {
    let state = state();
    let barrier = Arc::new(Barrier::new(5));
    state.functions.add("meet".into(), move |_| {
        let barrier = Arc::clone(&barrier);
        async move {
            barrier.wait();
            Ok::<_, Infallible>(Vec::new())
        }
    });
    let mut guest = Guest::new();
    let mut ids: Vec<_> = (0..5)
        .map(|_| guest.calls.call("meet", &[0; 20_000]))
        .collect();
    let start = Instant::now();
    while !ids.is_empty() {
        guest.exchange(&state, 10 * SECOND);
        ids.retain(|id| {
            let id = *id.as_ref().expect("there is room");
            matches!(guest.calls.poll(id, Waker::noop()), Progress::Waits(_))
        });
    }
    assert!(start.elapsed() < Duration::from_secs(10));
}
