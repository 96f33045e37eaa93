use super::*;
use std::{
    pin::pin,
    string::ToString,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    task::Wake,
    thread,
    time::Duration,
    vec::Vec,
};

/// A waker that counts its wakes.
#[derive(Default)]
struct Counter(AtomicU32);

impl Counter {
    fn wakes(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls with `waker`.
fn poll<W: Wake + Send + Sync + 'static>(wait: &mut Wait<'_>, waker: &Arc<W>) -> Poll<u32> {
    let waker = Waker::from(Arc::clone(waker));
    Pin::new(wait).poll(&mut Context::from_waker(&waker))
}

#[test]
fn a_wait_returns_the_signals_since_the_last() {
    let (event, task) = (Event::new(), Arc::new(Counter::default()));
    (0..3).for_each(|_| event.signal());
    let mut wait = event.wait().unwrap();
    assert_eq!(poll(&mut wait, &task), Poll::Ready(3));
    assert_eq!(poll(&mut wait, &task), Poll::Pending);
    assert_eq!(task.wakes(), 0);
    event.signal();
    event.signal();
    assert_eq!(task.wakes(), 1, "woken once, until it is polled again");
    assert_eq!(poll(&mut wait, &task), Poll::Ready(2));
    assert_eq!(event.take(), 0);
}

#[test]
fn the_count_saturates() {
    let event = Event::new();
    event.with_state(|state| state.signals.set(u32::MAX - 1));
    event.signal();
    event.signal();
    assert_eq!(event.take(), u32::MAX);
}

#[test]
fn taken_signals_do_not_end_a_wait() {
    let (event, task) = (Event::new(), Arc::new(Counter::default()));
    let mut wait = event.wait().unwrap();
    assert_eq!(poll(&mut wait, &task), Poll::Pending);
    event.signal();
    assert_eq!(event.take(), 1);
    assert_eq!(poll(&mut wait, &task), Poll::Pending);
    event.signal();
    assert_eq!(task.wakes(), 2);
    assert_eq!(poll(&mut wait, &task), Poll::Ready(1));
}

#[test]
fn a_dropped_wait_loses_no_signal_and_is_not_woken() {
    let (event, task) = (Event::new(), Arc::new(Counter::default()));
    let mut wait = event.wait().unwrap();
    assert_eq!(poll(&mut wait, &task), Poll::Pending);
    event.signal();
    drop(wait);
    let mut wait = event.wait().unwrap();
    assert_eq!(poll(&mut wait, &task), Poll::Ready(1));
    assert_eq!(poll(&mut wait, &task), Poll::Pending);
    drop(wait);
    assert_eq!(Arc::strong_count(&task), 1, "its waker is dropped with it");
    event.signal();
    assert_eq!(task.wakes(), 1, "by the first wait only");
    assert_eq!(event.take(), 1);
}

#[test]
fn a_second_wait_is_an_error_until_the_first_is_dropped() {
    let (event, task) = (Event::new(), Arc::new(Counter::default()));
    let mut first = event.wait().unwrap();
    assert_eq!(event.wait().unwrap_err(), AlreadyAwaited);
    assert_eq!(poll(&mut first, &task), Poll::Pending);
    assert_eq!(event.wait().unwrap_err(), AlreadyAwaited);
    event.signal();
    assert_eq!(poll(&mut first, &task), Poll::Ready(1));
    assert!(event.wait().is_err(), "a refused wait counts as one");
    drop(first);
    drop(event.wait().expect("there is no other wait"));
    assert!(event.wait().is_ok());
}

#[test]
fn a_refused_wait_says_what_to_do() {
    let event = Event::new();
    let _wait = event.wait();
    let refused = event.wait().expect_err("there is one already").to_string();
    assert!(
        refused.contains("give each task an event of its own"),
        "{refused}"
    );
}

#[test]
fn the_last_waker_is_stored_once_and_woken() {
    let event = Event::new();
    let (first, last) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
    let mut wait = event.wait().unwrap();
    assert_eq!(poll(&mut wait, &first), Poll::Pending);
    assert_eq!(poll(&mut wait, &last), Poll::Pending);
    assert_eq!(
        Arc::strong_count(&first),
        1,
        "the previous waker is dropped"
    );
    assert_eq!(poll(&mut wait, &last), Poll::Pending);
    assert_eq!(Arc::strong_count(&last), 2, "itself and the stored one");
    event.signal();
    assert_eq!((first.wakes(), last.wakes()), (0, 1));
}

/// Asserts that no critical section is held: another thread can enter one. (Critical sections of
/// the tests may be nested, so this thread could not tell.)
fn assert_outside_sections() {
    let (sender, entered) = mpsc::channel();
    thread::spawn(move || critical_section::with(|_| sender.send(())));
    entered
        .recv_timeout(Duration::from_secs(30))
        .expect("foreign code ran in a critical section");
}

#[test]
fn foreign_code_runs_outside_critical_sections() {
    use core::task::{RawWaker, RawWakerVTable};

    static CALLS: [AtomicU32; 3] = [const { AtomicU32::new(0) }; 3];
    fn called(number: usize) {
        assert_outside_sections();
        CALLS[number].fetch_add(1, Ordering::SeqCst);
    }
    const VTABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            called(0);
            RawWaker::new(data, &VTABLE)
        },
        |_| called(1),
        |_| called(1),
        |_| called(2),
    );
    // Two wakers of different tasks: they differ in their data.
    let [one, two] = [1, 2].map(|number| {
        // SAFETY: the functions ignore the data, and touch nothing but statics.
        unsafe { Waker::new(core::ptr::without_provenance(number), &VTABLE) }
    });
    let event = Event::new();
    let mut wait = event.wait().unwrap();
    let mut poll = |waker| Pin::new(&mut wait).poll(&mut Context::from_waker(waker));
    assert_eq!(poll(&one), Poll::Pending);
    assert_eq!(poll(&two), Poll::Pending);
    assert_eq!(
        poll(&two),
        Poll::Pending,
        "the waker is the same, and not cloned"
    );
    event.signal();
    assert_eq!(poll(&one), Poll::Ready(1));
    assert_eq!(poll(&one), Poll::Pending);
    drop(wait);
    let calls = CALLS.each_ref().map(|calls| calls.load(Ordering::SeqCst));
    // Dropped: the first when it was replaced, the last with the wait.
    assert_eq!(calls, [3, 1, 2], "clones, wakes, drops");
}

/// A poll checks for signals, clones the waker and stores it: a signal in between must not be
/// missed.
#[test]
fn a_signal_during_a_poll_ends_it() {
    use core::task::{RawWaker, RawWakerVTable};

    static EVENT: Event = Event::new();
    const VTABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            EVENT.signal();
            RawWaker::new(data, &VTABLE)
        },
        |_| (),
        |_| (),
        |_| (),
    );
    // SAFETY: the functions ignore the data, and touch nothing but a static.
    let waker = unsafe { Waker::new(core::ptr::null(), &VTABLE) };
    let mut wait = pin!(EVENT.wait().unwrap());
    let poll = wait.as_mut().poll(&mut Context::from_waker(&waker));
    assert_eq!(poll, Poll::Ready(1));
}

/// A waker of a parked thread.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits by parking. Panics if no signal comes for long.
fn await_signals(wait: &mut Wait<'_>) -> u32 {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut wait = pin!(wait);
    loop {
        let start = std::time::Instant::now();
        match wait.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(signals) => return signals,
            Poll::Pending => thread::park_timeout(Duration::from_secs(30)),
        }
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "a signal did not wake the thread"
        );
    }
}

/// Signals from other threads: none is lost, and none is counted twice, whether the waiter keeps
/// its `Wait`, drops it between two waits, or drops it before it has ended.
#[test]
fn signals_from_other_threads_are_all_counted() {
    const THREADS: u32 = 3;
    const SIGNALS: u32 = if cfg!(miri) { 50 } else { 50_000 };
    static EVENT: Event = Event::new();
    let others: Vec<_> = (0..THREADS)
        .map(|_| {
            thread::spawn(|| {
                for signal in 0..SIGNALS {
                    EVENT.signal();
                    if signal % 16 == 0 {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let task = Arc::new(Counter::default());
    let mut sum = 0;
    let mut round = 0;
    while sum < THREADS * SIGNALS {
        round += 1;
        let mut wait = EVENT.wait().unwrap();
        if round % 3 == 0 {
            // Dropped after one poll.
            if let Poll::Ready(signals) = poll(&mut wait, &task) {
                sum += signals;
            }
            continue;
        }
        for _ in 0..round % 3 {
            if sum < THREADS * SIGNALS {
                let signals = await_signals(&mut wait);
                assert_ne!(signals, 0);
                sum += signals;
            }
        }
    }
    for other in others {
        other.join().expect("the thread ends");
    }
    assert_eq!(sum + EVENT.take(), THREADS * SIGNALS);
}
