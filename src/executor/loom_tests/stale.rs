//! A model of wakers that outlive their task.

use loom::thread;

use super::{
    Two, check, enter, keep,
    watched::{Fate, released},
};
use crate::executor::{Executor, Shared};

/// A stale waker makes the runner visit a slot in which a thread is spawning another task. That
/// task is polled once, and not before it is in the slot.
#[test]
fn stale_wake_against_spawn() {
    check(|first| {
        let executor = keep(Executor::<Two>::new(Shared));
        let mut runner = enter(executor).expect("there is no other runner");
        let fates = [Fate::unknown(), Fate::unknown()];
        let spawn = |fate: &'static Fate| {
            let spawned = executor.remote().spawn_detached(fate.task(|| true));
            spawned.expect("there is room");
        };
        spawn(fates[0]);
        runner.pass();
        let waker = fates[0].waker();
        let threads = [
            thread::spawn(move || spawn(fates[1])),
            thread::spawn(move || waker.wake()),
        ];
        first.goes();
        runner.pass();
        for thread in threads {
            thread.join().expect("it does not panic");
        }
        assert_eq!(runner.run_until_idle().tasks_left, 0);
        let wakers = fates.map(Fate::waker);
        assert!(wakers[0].will_wake(&wakers[1]), "they had the same slot");
        for fate in fates {
            assert_eq!(fate.polls(), 1);
            fate.assert_is_over();
        }
        assert_eq!(released(), 2);
    });
}
