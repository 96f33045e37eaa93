use core::time::Duration;
use std::{
    string::{String, ToString},
    sync::Mutex,
    vec::Vec,
};

use super::*;
use crate::{
    executor::{Executor, Shared, Up64, yield_now},
    platform::host::{Skip, init},
    time::Timer,
};

/// Writes down what becomes of the tasks whose names end as its own does. (Other tests run beside.)
struct Listen {
    name: &'static str,
    known: Mutex<Vec<TaskId>>,
    told: Mutex<Vec<String>>,
}

impl Listen {
    fn note(&self, task: TaskId, what: &str) {
        if self.known.lock().unwrap().contains(&task) {
            self.told.lock().unwrap().push(what.to_string());
        }
    }
}

impl Trace for Listen {
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
        self.told.lock().unwrap().push("idle entered".to_string());
    }

    fn idle_left(&self) {
        self.told.lock().unwrap().push("idle left".to_string());
    }
}

/// The one test of it: there is one trace in a program.
#[test]
fn a_task_is_followed_from_its_spawn_to_its_end() {
    crate::task! {
        async fn followed(), pool = 1 {
            yield_now().await;
            Timer::after(Duration::from_millis(1)).await;
        }
        async fn aborted(), pool = 1 { core::future::pending().await }
    }
    static TRACE: Listen = Listen {
        name: "ed",
        known: Mutex::new(Vec::new()),
        told: Mutex::new(Vec::new()),
    };
    init();
    static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    install(&TRACE).unwrap();
    assert_eq!(install(&TRACE), Err(AlreadyTraced));

    let mut runner = EXECUTOR.enter().unwrap();
    runner.spawner().spawn_detached(followed()).unwrap();
    runner.run(Skip);
    let told = TRACE.told.lock().unwrap().split_off(0);
    let of_task = |what: &&String| !what.starts_with("idle");
    let followed: Vec<_> = told.iter().filter(of_task).collect();
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
    let timer_woke = told.iter().rposition(|what| what == "woken").unwrap();
    let before = &told[..timer_woke];
    assert!(before.iter().any(|what| what == "idle entered"));
    assert!(before.iter().any(|what| what == "idle left"));

    let handle = runner.spawner().spawn(aborted()).unwrap();
    runner.run_until_idle();
    handle.abort();
    runner.run_until_idle();
    let told = TRACE.told.lock().unwrap().split_off(0);
    assert!(told.iter().any(|what| what == "dropped"), "{told:?}");
}
