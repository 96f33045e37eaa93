//! Calls on tokio's runtimes.

use super::{tests::Guest, *};
use crate::{drive::drive, runtime::HostTask};
use dormir_hyperlight_protocol::{
    NO_DEADLINE, TASKS_ENDED,
    guest::{CallError, Progress},
};
use std::{convert::Infallible, mem::ManuallyDrop, sync::mpsc, task::Waker, thread, time::Instant};
use tokio::runtime::{Builder, Handle, Runtime};

const LIMIT: Duration = Duration::from_secs(10);

/// A handle that expects polls within a second, so that tests need not wait longer.
struct Impatient(Handle);

impl crate::Runtime for Impatient {
    fn spawn(&self, task: HostTask) {
        crate::Runtime::spawn(&self.0, task);
    }

    fn wait(&self, work: &mut dyn FnMut()) {
        self.0.wait(work);
    }

    fn first_poll_within(&self) -> Option<Duration> {
        assert!(self.0.first_poll_within() >= Some(Duration::from_secs(10)));
        Some(Duration::from_secs(1))
    }
}

fn state_on(handle: Handle) -> Arc<HostState> {
    let minute = Duration::from_secs(60);
    let state = Arc::new(HostState::new(false, minute, Duration::from_millis(5)));
    assert!(state.set_runtime(Impatient(handle)));
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

/// A guest whose tasks are always ready, so that it never waits: its calls run nevertheless, on
/// other workers, or on the only one.
#[test]
fn a_worker_serves_a_guest_that_never_waits() {
    for workers in [1, 4] {
        let runtime = Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_time()
            .build()
            .expect("a runtime");
        let state = state_on(runtime.handle().clone());
        let task = runtime.spawn(async move {
            let mut guest = Guest::new();
            let call = guest.calls.call("sleeps", &[1]).expect("there is room");
            let begin = Instant::now();
            loop {
                guest.exchange(&state, 0);
                if let Progress::Ended(result) = guest.calls.poll(call, Waker::noop()) {
                    return result;
                }
                assert!(begin.elapsed() < LIMIT, "it is not polled");
            }
        });
        let result = runtime.block_on(task).expect("it does not panic");
        assert_eq!(result, Ok(vec![1]));
    }
}

/// As many guests wait as the runtime has threads to take over from workers.
#[test]
fn workers_that_all_wait_are_an_error() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(2)
        .enable_time()
        .build()
        .expect("a runtime");
    let guest = || {
        let state = state_on(runtime.handle().clone());
        runtime.spawn(async move { waits_for_ever(&state, "sleeps") })
    };
    let guests: Vec<_> = (0..8).map(|_| guest()).collect();
    for guest in guests {
        let (status, _) = runtime.block_on(guest).expect("it does not panic");
        assert!(matches!(status, ReplyStatus::Stalled | ReplyStatus::Done));
    }
}

fn current_thread() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_time().build().expect("there is a timer")
}

/// Makes a call, and waits for it without an end. Returns how that ended, and after what time.
fn waits_for_ever(state: &Arc<HostState>, name: &str) -> (ReplyStatus, Duration) {
    let start = Instant::now();
    let mut guest = Guest::new();
    let _ = guest.calls.call(name, &[]);
    let status = guest.exchange(state, NO_DEADLINE).status;
    (status, start.elapsed())
}

/// On the runtime's only thread, in its tasks and those of a `LocalSet`, or without any thread.
#[test]
fn calls_that_nothing_runs_are_an_error() {
    let runtime = current_thread();
    let state = state_on(runtime.handle().clone());
    let mut ends = vec![runtime.block_on(async { waits_for_ever(&state, "sleeps") })];
    let shared = Arc::clone(&state);
    let task = runtime.spawn(async move { waits_for_ever(&shared, "sleeps") });
    ends.push(runtime.block_on(task).expect("it does not panic"));
    let shared = Arc::clone(&state);
    let local = tokio::task::LocalSet::new();
    let task = local.spawn_local(async move { waits_for_ever(&shared, "sleeps") });
    let task = runtime.block_on(local.run_until(task));
    ends.push(task.expect("it does not panic"));
    // Nothing runs it now.
    ends.push(waits_for_ever(&state, "sleeps"));
    for (status, elapsed) in ends {
        assert_eq!(status, ReplyStatus::Stalled);
        assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
    }
    // Nothing is wrong with the host.
    let result = runtime.block_on(async {
        let waits = move || Guest::new().call(&state, "sleeps", &[1]);
        tokio::task::spawn_blocking(waits).await
    });
    assert_eq!(result.expect("it does not panic"), Ok(vec![1]));
}

#[test]
fn another_thread_may_wait_for_a_runtime_of_one_thread() {
    let runtime = current_thread();
    let state = state_on(runtime.handle().clone());
    state.functions.add("blocks".into(), |bytes| async {
        thread::sleep(Duration::from_millis(1300));
        Ok::<_, Infallible>(bytes)
    });
    state.functions.add("sleeps long".into(), |bytes| async {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        Ok::<_, Infallible>(bytes)
    });
    for thread in [false, true] {
        let state = Arc::clone(&state);
        let waits = move || {
            let mut guest = Guest::new();
            let long = guest.call(&state, "sleeps long", &[1]);
            // The second one is polled when the first one returns.
            let second = guest.calls.call("blocks", &[2]).expect("there is room");
            let first = guest.call(&state, "blocks", &[3]);
            let second = loop {
                match guest.calls.poll(second, Waker::noop()) {
                    Progress::Ended(result) => break result,
                    Progress::Waits(_) => guest.exchange(&state, NO_DEADLINE),
                };
            };
            [long, second, first]
        };
        let ends = runtime.block_on(async {
            if thread {
                let waits = thread::spawn(waits);
                while !waits.is_finished() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                waits.join().expect("it does not panic")
            } else {
                let waits = tokio::task::spawn_blocking(waits);
                waits.await.expect("it does not panic")
            }
        });
        assert_eq!(ends, [1, 2, 3].map(|byte| Ok(vec![byte])));
    }
}

#[test]
fn a_runtime_of_one_thread_drives_its_own_guest_and_no_idle_ones() {
    let runtime = current_thread();
    let idle = current_thread();
    let drives = |state: Arc<HostState>| {
        let mut guest = Guest::new();
        let call = guest.calls.call("sleeps", &[1]).expect("there is room");
        runtime.block_on(drive(&state, || {
            guest.exchange(&state, 0);
            Ok(match guest.calls.poll(call, Waker::noop()) {
                Progress::Ended(_) => TASKS_ENDED,
                Progress::Waits(_) => NO_DEADLINE,
            })
        }))
    };
    drives(state_on(runtime.handle().clone())).expect("its calls are run");
    let start = Instant::now();
    let ended = drives(state_on(idle.handle().clone()));
    let sentence = ended.expect_err("nothing runs its calls").to_string();
    assert!(sentence.contains("no thread runs it"), "{sentence}");
    assert!(start.elapsed() < Duration::from_secs(3));
}

/// Results that come together take one turn, although a worker polls the task first that the first
/// of them has woken.
#[test]
fn results_that_come_together_take_one_turn() {
    const CALLS: u8 = 50;
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime");
    let state = state_on(runtime.handle().clone());
    let at = tokio::time::Instant::now() + Duration::from_millis(100);
    state
        .functions
        .add("at-once".into(), move |bytes| async move {
            tokio::time::sleep_until(at).await;
            Ok::<_, Infallible>(bytes)
        });
    let driven = runtime.spawn(async move {
        let mut guest = Guest::new();
        let call = |number| guest.calls.call("at-once", &[number]);
        let mut calls: Vec<_> = (0..CALLS).map(call).collect();
        let mut turns = 0;
        let driven = drive(&state, || {
            turns += 1;
            guest.exchange(&state, 0);
            calls.retain(|call| {
                let id = *call.as_ref().expect("there is room");
                matches!(guest.calls.poll(id, Waker::noop()), Progress::Waits(_))
            });
            Ok(if calls.is_empty() {
                TASKS_ENDED
            } else {
                NO_DEADLINE
            })
        });
        driven.await.expect("they end");
        turns
    });
    let turns: u32 = runtime.block_on(driven).expect("it does not panic");
    // The first sends the calls.
    assert_eq!(turns, 2);
}
