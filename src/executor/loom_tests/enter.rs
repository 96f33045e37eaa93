//! Models of threads that open an executor, enter it, and enter it one after the other.

use loom::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};

use super::{
    Two, check, enter, keep,
    watched::{Fate, released},
};
use crate::executor::{Executor, Shared};

/// Two runners on two threads poll a task, one after the other. The second poll sees what the first
/// one has done.
#[test]
fn two_threads_enter() {
    check(|first| {
        let executor = keep(Executor::<Two>::new(Shared));
        let fate = Fate::unknown();
        let mut polls = 0;
        let task = fate.task(move || {
            polls += 1;
            polls == 2
        });
        let spawned = executor.remote().spawn_detached(task);
        spawned.expect("there is room");
        let pass_once = || {
            if let Ok(mut runner) = enter(executor) {
                runner.pass();
                if fate.polls() == 1 {
                    fate.waker().wake();
                }
            }
        };
        let thread = thread::spawn(pass_once);
        first.goes();
        pass_once();
        thread.join().expect("it does not panic");
        pass_once();
        pass_once();
        assert_eq!(fate.polls(), 2);
        fate.assert_is_over();
        assert_eq!(released(), 1);
    });
}

/// Two threads are the first to use an executor, at once.
#[test]
fn two_threads_open_the_executor() {
    check(|first| {
        let executor = keep(Executor::<Two>::new(Shared));
        let fates = [Fate::unknown(), Fate::unknown()];
        let spawn = |fate: &'static Fate| {
            let spawned = executor.remote().spawn_detached(fate.task(|| true));
            spawned.expect("there is room");
        };
        let thread = thread::spawn(move || spawn(fates[0]));
        first.goes();
        spawn(fates[1]);
        thread.join().expect("it does not panic");
        let mut runner = enter(executor).expect("there is no other runner");
        runner.run_until_idle();
        for fate in fates {
            fate.assert_is_over();
        }
    });
}

/// Whichever thread opens the executor first, the hook is called at each wake, or was refused.
#[test]
fn on_wake_against_remote() {
    loom::lazy_static! {
        static ref CALLS: AtomicUsize = AtomicUsize::new(0);
    }
    check(|first| {
        let executor = keep(Executor::<Two>::new(Shared));
        let thread = thread::spawn(|| {
            let _ = executor.remote();
        });
        first.goes();
        let in_time = executor.open_with_hook(|| {
            CALLS.fetch_add(1, Relaxed);
        });
        thread.join().expect("it does not panic");
        let spawned = executor
            .remote()
            .spawn_detached(Fate::unknown().task(|| true));
        spawned.expect("there is room");
        let calls = CALLS.load(Relaxed);
        assert_eq!(calls, usize::from(in_time), "calls of the hook");
        enter(executor)
            .expect("there is no other runner")
            .run_until_idle();
    });
}
