//! Batches that are sent again: by the guest that sent them, or by one that was restored since.

use super::{
    super::model::{Random, Steps},
    *,
};

/// A restored guest counts as the one before it did, and its first batch may be lost. What it sends
/// again then has the number of the other guest's last batch.
#[test]
fn a_restored_guests_repeat_is_not_another_guests_batch() {
    let hour = Duration::from_secs(3600);
    let state = Arc::new(HostState::new(false, hour, Duration::ZERO));
    let steps = Steps::default();
    assert!(state.set_runtime(steps.clone()));
    let echo = |bytes| async move { Ok::<_, Infallible>(bytes) };
    state.functions.add("echo".into(), echo);
    let mut guest = Guest::new();
    guest.exchange(&state, 0);
    let snapshot = guest.calls.clone();
    // One branch makes two calls, which nothing runs yet.
    for name in ["one", "two"] {
        let call = guest.calls.call("echo", name.as_bytes());
        call.expect("there is room");
    }
    guest.exchange(&state, 0);
    // The other branch makes one, in a batch that does not arrive.
    guest.calls = snapshot;
    let lost = guest.calls.call("echo", b"lost").expect("there is room");
    let _ = guest.calls.batch(NO_DEADLINE, false, false);
    guest.calls.no_answer();
    // The second call has the number that "two" has.
    let call = guest.calls.call("echo", b"three").expect("there is room");
    guest.exchange(&state, 0);
    let ended = guest.calls.poll(lost, Waker::noop());
    assert!(matches!(ended, Progress::Ended(Err(CallError::Lost))));
    let result = loop {
        if let Progress::Ended(result) = guest.calls.poll(call, Waker::noop()) {
            break result;
        }
        guest.exchange(&state, 0);
        steps.poll_one(&mut Random(1));
    };
    assert_eq!(result, Ok(b"three".to_vec()));
}
