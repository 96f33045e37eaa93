//! Calls on tokio's runtimes.

use super::{tests::Guest, *};
use dormir_hyperlight_protocol::{NO_DEADLINE, guest::CallError};
use std::{convert::Infallible, mem::ManuallyDrop, sync::mpsc, thread};
use tokio::runtime::{Builder, Handle};

const LIMIT: Duration = Duration::from_secs(10);

fn state_on(handle: Handle) -> Arc<HostState> {
    let minute = Duration::from_secs(60);
    let state = Arc::new(HostState::new(false, minute, Duration::from_millis(5)));
    assert!(state.set_runtime(handle));
    state.functions.add("sleeps".into(), |bytes| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok::<_, Infallible>(bytes)
    });
    state
}

#[test]
fn calls_run_on_a_runtime() {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_time().build();
    let runtime = runtime.expect("there are threads");
    let state = state_on(runtime.handle().clone());
    let mut guest = Guest::new();
    assert_eq!(guest.call(&state, "sleeps", &[1]), Ok(vec![1]));
    // From one of its own threads, while another drives it.
    let inside = runtime.block_on(async { Guest::new().call(&state, "sleeps", &[2]) });
    assert_eq!(inside, Ok(vec![2]));
    // One that has ended drops what it is given.
    runtime.shutdown_background();
    let mut guest = Guest::new();
    assert_eq!(guest.call(&state, "sleeps", &[3]), Err(CallError::Lost));
}

/// A worker keeps the task that it spawned last, which no other worker takes.
#[test]
fn a_worker_may_wait() {
    for workers in [1, 4] {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(workers).enable_time().build();
        // Dropping it would wait for a worker that does not end.
        let runtime = ManuallyDrop::new(runtime.expect("there are threads"));
        let mut waits = Vec::new();
        // More than there are workers.
        for number in 0..6 {
            let state = state_on(runtime.handle().clone());
            let (sender, receiver) = mpsc::channel();
            runtime.spawn(async move {
                let mut guest = Guest::new();
                for _ in 0..3 {
                    let _ = sender.send(guest.call(&state, "sleeps", &[number]));
                }
            });
            waits.push(receiver);
        }
        for (number, receiver) in waits.into_iter().enumerate() {
            for _ in 0..3 {
                assert_eq!(receiver.recv_timeout(LIMIT), Ok(Ok(vec![number as u8])));
            }
        }
        ManuallyDrop::into_inner(runtime).shutdown_background();
    }
}

/// A `LocalSet` forbids tokio's `block_in_place`.
#[test]
fn a_task_of_a_local_set_may_wait() {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_time().build();
    let runtime = runtime.expect("there are threads");
    let state = state_on(runtime.handle().clone());
    let local = tokio::task::LocalSet::new();
    let waits = local.spawn_local(async move { Guest::new().call(&state, "sleeps", &[1]) });
    let result = runtime.block_on(local.run_until(waits));
    assert_eq!(result.expect("it does not panic"), Ok(vec![1]));
}

#[test]
fn a_deadlock_is_an_error() {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().build().expect("there is a timer");
    let state = state_on(runtime.handle().clone());
    let refused = runtime.block_on(async {
        let mut guest = Guest::new();
        let _ = guest.calls.call("sleeps", &[]);
        state.exchange(&guest.calls.batch(NO_DEADLINE, true, false))
    });
    let sentence = refused.expect_err("it would wait for itself");
    assert!(sentence.contains("with_runtime") && sentence.contains("spawn_blocking"));
    // Another thread may wait.
    let waits = thread::spawn(move || Guest::new().call(&state, "sleeps", &[1]));
    runtime.block_on(async {
        while !waits.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert_eq!(waits.join().expect("it does not panic"), Ok(vec![1]));
}
