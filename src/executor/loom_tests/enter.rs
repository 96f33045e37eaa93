//! Who comes first, who enters, and who comes after.

use loom::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};

use super::{
    Two, check, enter, keep,
    watched::{Fate, released},
};
use crate::executor::{Executor, Shared};

/// A task is polled by two runners, one after the other, on two threads: what the first one's poll
/// has done is there for the second one's.
#[test]
fn two_who_enter() {
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

/// An executor is made ready by whoever comes first, and that may be two at a time.
#[test]
fn two_who_come_first() {
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
        let mut runner = enter(executor).expect("nobody else enters");
        runner.run_until_idle();
        for fate in fates {
            fate.assert_is_over();
        }
    });
}

/// A hook is called at each wake, or is refused, whichever thread opens the executor first.
#[test]
fn a_hook_against_another_first_use() {
    loom::lazy_static! {
        static ref HEARD: AtomicUsize = AtomicUsize::new(0);
    }
    check(|first| {
        let executor = keep(Executor::<Two>::new(Shared));
        let thread = thread::spawn(|| {
            let _ = executor.remote();
        });
        first.goes();
        let in_time = executor.open_with_hook(|| {
            HEARD.fetch_add(1, Relaxed);
        });
        thread.join().expect("it does not panic");
        let spawned = executor
            .remote()
            .spawn_detached(Fate::unknown().task(|| true));
        spawned.expect("there is room");
        let heard = HEARD.load(Relaxed);
        assert_eq!(heard, usize::from(in_time), "calls of the hook");
        enter(executor)
            .expect("nobody else enters")
            .run_until_idle();
    });
}
