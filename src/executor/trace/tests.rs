use core::{future::poll_fn, task::Poll, time::Duration};
use std::{
    boxed::Box,
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    rc::Rc,
    string::{String, ToString},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
    vec::Vec,
};

use super::*;
use crate::{
    executor::{Aborted, Executor, Runner, Shared, Up64, yield_now},
    platform::host::{Skip, init},
    test_support::alone,
    time::Timer,
};

/// Notes what happens to tasks whose names end with `name`. (Other tests run at the same time.)
struct Recorder {
    name: &'static str,
    known: Mutex<Vec<TaskId>>,
    events: Mutex<Vec<String>>,
}

impl Recorder {
    fn note(&self, task: TaskId, what: &str) {
        if self.known.lock().unwrap().contains(&task) {
            self.events.lock().unwrap().push(what.to_string());
        }
    }
}

impl Trace for Recorder {
    fn spawned(&self, task: TaskId, name: &'static str) {
        if name.ends_with(self.name) {
            self.known.lock().unwrap().push(task);
            self.note(task, "spawned");
        }
    }

    fn woken(&self, task: TaskId) {
        self.note(task, "woken");
    }

    fn poll_begun(&self, task: TaskId) {
        self.note(task, "poll begun");
    }

    fn poll_ended(&self, task: TaskId) {
        self.note(task, "poll ended");
    }

    fn ended(&self, task: TaskId, has_output: bool) {
        self.note(task, if has_output { "ended" } else { "dropped" });
    }

    fn idle_entered(&self) {
        self.events.lock().unwrap().push("idle entered".to_string());
    }

    fn idle_left(&self) {
        self.events.lock().unwrap().push("idle left".to_string());
    }
}

/// The only test that installs a trace in this process: a program has one.
#[test]
fn a_trace_follows_a_task_from_spawn_to_end() {
    crate::tasks! {
        async fn followed(), pool = 1 {
            yield_now().await;
            Timer::after(Duration::from_millis(1)).await;
        }
        async fn aborted(), pool = 1 { core::future::pending().await }
    }
    static TRACE: Recorder = Recorder {
        name: "ed",
        known: Mutex::new(Vec::new()),
        events: Mutex::new(Vec::new()),
    };
    init();
    static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    install(&TRACE).unwrap();
    let refused = install(&TRACE).unwrap_err();
    assert_eq!(refused, AlreadyTraced);
    assert!(refused.to_string().contains("one trace, once"), "{refused}");

    let mut runner = EXECUTOR.enter().unwrap();
    runner.spawner().spawn_detached(followed()).unwrap();
    runner.run(Skip);
    let events = TRACE.events.lock().unwrap().split_off(0);
    let of_task = |what: &&String| !what.starts_with("idle");
    let followed: Vec<_> = events.iter().filter(of_task).collect();
    assert_eq!(
        followed,
        [
            "spawned",
            "woken",
            "poll begun",
            "woken",
            "poll ended",
            "poll begun",
            "poll ended",
            "woken",
            "poll begun",
            "ended",
            "poll ended",
        ]
    );
    let timer_woke = events.iter().rposition(|what| what == "woken").unwrap();
    let before = &events[..timer_woke];
    assert!(before.iter().any(|what| what == "idle entered"));
    assert!(before.iter().any(|what| what == "idle left"));

    let handle = runner.spawner().spawn(aborted()).unwrap();
    runner.run_until_idle();
    handle.abort();
    runner.run_until_idle();
    let events = TRACE.events.lock().unwrap().split_off(0);
    assert!(events.iter().any(|what| what == "dropped"), "{events:?}");
}

#[test]
fn a_task_is_shown_by_its_number() {
    static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    let runner = EXECUTOR.enter().unwrap();
    runner
        .spawner()
        .spawn_detached(waits(Rc::default()))
        .unwrap();
    let task = TaskId::of(EXECUTOR.ready.slot(0));
    assert_eq!(task.to_string(), "task 1");
}

crate::tasks! {
    async fn leaves_waker(kept: Rc<RefCell<Option<Waker>>>), pool = 2 {
        poll_fn(|cx| {
            *kept.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(())
        })
        .await;
    }

    async fn waits(kept: Rc<()>), pool = 2 {
        let _kept = kept;
        core::future::pending().await
    }
}

/// Makes the runner visit a slot whose task has ended.
fn wake_stale(runner: &mut Runner<Up64>) {
    let kept = Rc::default();
    let task = leaves_waker(Rc::clone(&kept));
    runner.spawner().spawn_detached(task).unwrap();
    runner.run_until_idle();
    kept.borrow_mut().take().expect("it was polled").wake();
    runner.run_until_idle();
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no processes, and there is one trace in each")]
fn a_stale_wake_is_not_a_poll() {
    struct Polls(Mutex<Vec<(&'static str, u64)>>);
    impl Polls {
        fn note(&self, what: &'static str, task: TaskId) {
            self.0.lock().unwrap().push((what, task.number()));
        }
    }
    impl Trace for Polls {
        fn woken(&self, task: TaskId) {
            self.note("woken", task);
        }
        fn poll_begun(&self, task: TaskId) {
            self.note("poll begun", task);
        }
        fn poll_ended(&self, task: TaskId) {
            self.note("poll ended", task);
        }
    }
    alone(|| {
        static TRACE: Polls = Polls(Mutex::new(Vec::new()));
        static EXECUTOR: Executor<Up64> = Executor::new(Shared);
        let mut runner = EXECUTOR.enter().unwrap();
        // This makes the free list's link in the slot's state nonzero.
        let handles = [(); 2].map(|()| runner.spawner().spawn(waits(Rc::default())).unwrap());
        for handle in handles {
            handle.abort();
        }
        runner.run_until_idle();
        install(&TRACE).unwrap();
        wake_stale(&mut runner);
        assert_eq!(
            TRACE.0.lock().unwrap()[..],
            [
                ("woken", 3),
                ("poll begun", 3),
                ("poll ended", 3),
                ("woken", 0),
            ]
        );
    });
}

/// A hook should not unwind, but if it does, nothing is lost.
#[test]
#[cfg_attr(miri, ignore = "Miri has no processes, and there is one trace in each")]
fn no_task_and_no_slot_is_lost_if_the_trace_unwinds() {
    struct Panics(AtomicBool);
    impl Trace for Panics {
        fn spawned(&self, _task: TaskId, _name: &'static str) {
            if self.0.swap(false, Ordering::Relaxed) {
                resume_unwind(Box::new("as the test wants it"));
            }
        }
    }
    alone(|| {
        static TRACE: Panics = Panics(AtomicBool::new(false));
        static EXECUTOR: Executor<Up64> = Executor::new(Shared);
        let unwinds = |body: &dyn Fn()| {
            TRACE.0.store(true, Ordering::Relaxed);
            catch_unwind(AssertUnwindSafe(body)).is_err()
        };
        let slots = || (EXECUTOR.tasks(), EXECUTOR.core.ended());
        install(&TRACE).unwrap();
        let mut runner = EXECUTOR.enter().unwrap();
        wake_stale(&mut runner);
        let spawner = runner.spawner();
        let kept = Rc::new(());
        assert!(unwinds(&|| drop(spawner.spawn(waits(kept.clone())))));
        assert!(unwinds(&|| drop(
            spawner.spawn_detached(waits(kept.clone()))
        )));
        assert_eq!(slots(), (2, 0));
        drop(runner);
        assert_eq!((slots(), Rc::strong_count(&kept)), ((0, 0), 1));

        let mut runner = EXECUTOR.enter().unwrap();
        wake_stale(&mut runner);
        assert_eq!(slots(), (0, 0));
        // What was spawned is run, though the trace did not report it.
        let waker = Rc::default();
        let spawner = runner.spawner();
        assert!(unwinds(&|| drop(
            spawner.spawn(leaves_waker(Rc::clone(&waker)))
        )));
        runner.run_until_idle();
        assert!(waker.borrow().is_some());
        assert_eq!(slots(), (0, 0));
    });
}

/// A hook should not drop the runner, but if it does, no local task is left to the next runner.
#[test]
#[cfg_attr(miri, ignore = "Miri has no processes, and there is one trace in each")]
fn a_local_task_is_dropped_if_the_trace_drops_its_runner() {
    std::thread_local! {
        static RUNNER: RefCell<Option<Runner<Up64>>> = const { RefCell::new(None) };
    }
    struct DropsRunner;
    impl Trace for DropsRunner {
        fn spawned(&self, _task: TaskId, _name: &'static str) {
            let runner = RUNNER.take();
            drop(runner);
        }
    }
    alone(|| {
        static EXECUTOR: Executor<Up64> = Executor::new(Shared);
        install(&DropsRunner).unwrap();
        // At a slot's first use, and later.
        for _ in 0..2 {
            for joined in [true, false] {
                let runner = EXECUTOR.enter().unwrap();
                let spawner = runner.spawner();
                RUNNER.set(Some(runner));
                let kept = Rc::new(());
                if joined {
                    let handle = spawner.spawn(waits(kept.clone())).unwrap();
                    assert_eq!(Rc::strong_count(&kept), 1, "the runner dropped the task");
                    assert_eq!(crate::block_on(handle, Skip), Err(Aborted));
                } else {
                    spawner.spawn_detached(waits(kept.clone())).unwrap();
                    assert_eq!(Rc::strong_count(&kept), 1, "the runner dropped the task");
                }
                assert_eq!((EXECUTOR.tasks(), EXECUTOR.core.ended()), (0, 0));
                // The wake at the end of the spawn is stale.
                assert_eq!(EXECUTOR.enter().unwrap().run_until_idle().tasks_left, 0);
            }
        }
    });
}
