//! Results that do not all fit into the guest's memory, as the guest's tasks await them.

use super::*;

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
