//! Wakes at an instant, for executors that this crate knows nothing of: one thread for the whole
//! program, which sleeps until the next instant.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    task::Waker,
    thread,
    time::{Duration, Instant},
};

/// The wakers of all timers, by their instants and a number that tells equal ones apart.
#[derive(Default)]
struct Timers {
    state: Mutex<State>,
    /// There is an earlier instant.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    wakers: BTreeMap<(Instant, u64), Waker>,
    next: u64,
    has_thread: bool,
}

fn timers() -> &'static Timers {
    static TIMERS: OnceLock<Timers> = OnceLock::new();
    TIMERS.get_or_init(Timers::default)
}

impl Timers {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread's loop. It never ends: a program has at most one.
    fn run(&self) {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let first = state.wakers.first_entry();
            let sleep = match first {
                Some(first) if first.key().0 <= now => {
                    let waker = first.remove();
                    drop(state);
                    let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
                    state = self.state();
                    continue;
                }
                Some(first) => first.key().0 - now,
                None => Duration::from_secs(3600),
            };
            let woken = self.changed.wait_timeout(state, sleep);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A waker that is woken at an instant, unless this is dropped before.
pub(crate) struct Alarm((Instant, u64));

impl Alarm {
    /// `None` if there is no thread for timers.
    pub(crate) fn new(at: Instant, waker: Waker) -> Option<Self> {
        let timers = timers();
        let mut state = timers.state();
        if !state.has_thread {
            let thread = thread::Builder::new().name("dormir-timers".into());
            thread.spawn(|| self::timers().run()).ok()?;
            state.has_thread = true;
        }
        let key = (at, state.next);
        state.next += 1;
        let is_first = state
            .wakers
            .first_key_value()
            .is_none_or(|(first, _)| key < *first);
        state.wakers.insert(key, waker);
        drop(state);
        if is_first {
            timers.changed.notify_one();
        }
        Some(Self(key))
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let waker = timers().state().wakers.remove(&self.0);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::{Arc, mpsc},
        task::Wake,
    };

    struct Sends(Mutex<mpsc::Sender<u64>>, u64);

    impl Wake for Sends {
        fn wake(self: Arc<Self>) {
            let _ = self.0.lock().expect("no panic").send(self.1);
        }
    }

    #[test]
    fn alarms_come_in_the_order_of_their_instants() {
        let (sender, receiver) = mpsc::channel();
        let begin = Instant::now();
        let mut alarms = Vec::new();
        for millis in [60, 20, 40, 30] {
            let waker = Waker::from(Arc::new(Sends(Mutex::new(sender.clone()), millis)));
            let at = begin + Duration::from_millis(millis);
            alarms.push(Alarm::new(at, waker).expect("there is a thread"));
        }
        // The one of 40 ms.
        drop(alarms.remove(2));
        for millis in [20, 30, 60] {
            let came = receiver.recv_timeout(Duration::from_secs(30));
            assert_eq!(came, Ok(millis));
            assert!(begin.elapsed() >= Duration::from_millis(millis));
        }
        assert!(receiver.try_recv().is_err());
        assert!(timers().state().wakers.is_empty());
    }
}
