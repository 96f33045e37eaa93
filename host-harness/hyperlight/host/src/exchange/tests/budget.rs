//! Results that do not all fit into the guest's memory, as the guest's tasks await them.

use super::{
    super::model::{Random, Steps},
    *,
};

/// Awaits a call as a task does: it waits for it with a waker.
fn wait(guest: &mut Guest, state: &Arc<HostState>, id: CallId) -> CallResult {
    loop {
        if let Progress::Ended(result) = guest.calls.poll(id, Waker::noop()) {
            return result;
        }
        guest.calls.set_waker(id, Waker::noop().clone());
        guest.exchange(state, 10 * SECOND);
        while guest.calls.next_woken().is_some() {}
    }
}

#[test]
fn the_slowest_first_leaves_nothing_out() {
    const COUNT: u8 = 20;
    let state = state();
    state.functions.add("page".into(), |bytes| async move {
        let is_first = bytes == [0];
        thread::sleep(Duration::from_millis(if is_first { 200 } else { 0 }));
        Ok::<_, Infallible>(vec![bytes[0]; 3000])
    });
    let mut guest = Guest::new();
    let calls = |number: u8| guest.calls.call("page", &[number]);
    let ids: Vec<_> = (0..COUNT).map(calls).collect();
    for (number, id) in (0..COUNT).zip(ids) {
        let id = id.expect("there is room");
        let result = wait(&mut guest, &state, id);
        assert_eq!(result, Ok(vec![number; 3000]), "{number}");
        assert!(guest.calls.held() <= 40 * 1024);
    }
    let exchanges = state.usage().exchanges;
    println!("{exchanges} exchanges");
    assert!(exchanges < 40, "{exchanges}");
    guest.exchange(&state, 0);
    assert_eq!((state.usage().calls, state.usage().bytes), (0, 0));
}

/// Each of them needs all of the budget, and the last one is awaited first.
#[test]
fn results_as_large_as_the_budget_come_one_by_one() {
    let state = state();
    state.functions.add("large".into(), |bytes| async move {
        Ok::<_, Infallible>(vec![bytes[0]; 10_000])
    });
    let mut guest = Guest::new();
    guest.calls.set_budget(10_000);
    let calls = |number: u8| guest.calls.call("large", &[number]);
    let ids: Vec<_> = (0..5).map(calls).collect();
    for (number, id) in (0..5).zip(ids).rev() {
        let id = id.expect("there is room");
        let result = wait(&mut guest, &state, id);
        assert_eq!(result, Ok(vec![number; 10_000]));
        assert!(guest.calls.held() <= 10_000);
    }
    guest.exchange(&state, 0);
    assert_eq!((state.usage().calls, state.usage().bytes), (0, 0));
}

/// A result that makes way while its next piece is about to be sent comes from its beginning again.
#[test]
fn a_result_comes_again_from_its_beginning() {
    let state = Arc::new(HostState::new(false, Duration::MAX, Duration::ZERO));
    let steps = Steps::default();
    assert!(state.set_runtime(steps.clone()));
    state.functions.add("large".into(), |bytes| async move {
        Ok::<_, Infallible>(vec![bytes[0]; 1000 * usize::from(bytes[0])])
    });
    let run = || (0..2).for_each(|_| steps.poll_one(&mut Random(1)));
    let mut guest = Guest::new();
    guest.calls.set_budget(10_000);
    let six = guest.calls.call("large", &[6]).expect("there is room");
    guest.exchange(&state, 0);
    run();
    let nine = guest.calls.call("large", &[9]).expect("there is room");
    guest.calls.set_waker(nine, Waker::noop().clone());
    guest.exchange(&state, 0);
    assert_eq!(guest.calls.held(), 6000, "some of it has come");
    // The other one ends before the next piece is asked for, and fills the reply.
    run();
    guest.exchange(&state, 0);
    assert_eq!(guest.calls.held(), 9000, "it has made way");
    guest.calls.cancel(nine);
    assert_eq!(wait(&mut guest, &state, six), Ok(vec![6; 6000]));
}
