//! The owner of a timer queue, where several threads stand for vCPUs.

use super::*;
use crate::time::{Alarm, Clock};
use core::time::Duration;
use std::{
    sync::{Condvar, OnceLock, mpsc},
    time,
};

/// A real clock, and an alarm that ends a wait on any thread.
struct ThreadDevices {
    alarm: Mutex<Option<u64>>,
    kicked: Mutex<bool>,
    ends_a_wait: Condvar,
}

fn now() -> u64 {
    static START: OnceLock<time::Instant> = OnceLock::new();
    START.get_or_init(time::Instant::now).elapsed().as_nanos() as u64
}

impl Clock for ThreadDevices {
    fn now(&self) -> Instant {
        Instant::from_nanos(now())
    }
}

impl Alarm for ThreadDevices {
    fn set(&self, at: Instant) {
        *self.alarm.lock().unwrap() = Some(at.as_nanos());
    }

    fn off(&self) {
        *self.alarm.lock().unwrap() = None;
    }
}

impl ThreadDevices {
    const fn new() -> Self {
        Self {
            alarm: Mutex::new(None),
            kicked: Mutex::new(false),
            ends_a_wait: Condvar::new(),
        }
    }

    /// Ends the wait that is going on, or else the next one.
    fn kick(&self) {
        *self.kicked.lock().unwrap() = true;
        self.ends_a_wait.notify_all();
    }
}

/// An idle policy that sleeps until the alarm or a kick.
struct Sleep(&'static ThreadDevices, &'static TimerQueue);

impl Idle for Sleep {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        let Self(machine, timers) = self;
        let mut kicked = machine.kicked.lock().unwrap();
        if !cx.is_idle() {
            return;
        }
        loop {
            if core::mem::take(&mut *kicked) {
                return;
            }
            let alarm = *machine.alarm.lock().unwrap();
            if alarm.is_some_and(|at| at <= now()) {
                machine.off();
                return timers.on_interrupt();
            }
            let left = alarm.map_or(3_600_000_000_000, |at| at.saturating_sub(now()));
            let left = time::Duration::from_nanos(left);
            kicked = machine.ends_a_wait.wait_timeout(kicked, left).unwrap().0;
        }
    }
}

/// The owner sleeps for a long time. A timer of its queue that another thread polls is still in
/// time.
#[test]
#[cfg_attr(miri, ignore = "it goes by real time")]
fn a_timer_that_another_thread_polls_ends_the_owners_sleep() {
    static MACHINE: ThreadDevices = ThreadDevices::new();
    static TIMERS: TimerQueue = TimerQueue::new();
    static SLEEPS: AtomicUsize = AtomicUsize::new(0);
    tasks! {
        async fn sleeper(), pool = 1 {
            SLEEPS.store(1, Ordering::SeqCst);
            TIMERS.timer(Instant::from_nanos(now() + 60_000_000_000)).await;
        }
    }
    TIMERS.install(&MACHINE, &MACHINE).unwrap();
    TIMERS.on_earlier(|| MACHINE.kick());
    let executor = executor::<Up64>();
    executor.on_wake(|| MACHINE.kick());
    let handle = executor.remote().spawn(sleeper()).unwrap();
    let owner = thread::spawn(move || {
        let mut runner = executor.enter().unwrap().with_timers(&TIMERS);
        runner.run(Sleep(&MACHINE, &TIMERS));
    });
    while SLEEPS.load(Ordering::SeqCst) == 0 {
        thread::sleep(time::Duration::from_millis(1));
    }
    thread::sleep(time::Duration::from_millis(50));
    let waker = Unpark::this_thread();
    for _ in 0..5 {
        let begin = now();
        let mut timer = std::pin::pin!(TIMERS.timer(Instant::from_nanos(begin + 20_000_000)));
        while timer
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
        {
            thread::park_timeout(time::Duration::from_secs(20));
            let took = time::Duration::from_nanos(now() - begin);
            assert!(took < time::Duration::from_secs(10), "it took {took:?}");
        }
        assert!(now() - begin >= 20_000_000);
    }
    handle.abort();
    owner.join().expect("the owner ends");
}

/// Returns the panic message of a loop that is refused.
fn refusal(body: impl FnOnce()) -> &'static str {
    let panic = catch_unwind(AssertUnwindSafe(body)).expect_err("another thread owns the queue");
    panic.downcast_ref::<&str>().expect("a message")
}

/// A second thread's loop does not touch the queue: the owner's alarm stays.
#[test]
#[cfg_attr(miri, ignore = "Miri has no processes")]
fn a_queue_is_served_on_one_thread_at_a_time() {
    tasks! {
        async fn sleeper(nanos: u64), pool = 4 { Timer::after(Duration::from_nanos(nanos)).await }
        async fn nothing(), pool = 1 {}
    }
    alone(|| {
        static MACHINE: ThreadDevices = ThreadDevices::new();
        let timers = TimerQueue::global();
        timers.install(&MACHINE, &MACHINE).unwrap();
        let (started, start) = mpsc::channel();
        let owner = thread::spawn(move || {
            let executor = executor::<Up64>();
            let mut runner = executor.enter().unwrap();
            runner
                .spawner()
                .spawn_detached(sleeper(1_000_000_000))
                .unwrap();
            runner.run_until_idle();
            started.send(()).unwrap();
            runner.run(Sleep(&MACHINE, timers));
        });
        start.recv().unwrap();
        thread::sleep(time::Duration::from_millis(100));
        // Loops that need not wait may use the queue.
        let executor = executor::<Up64>();
        let mut runner = executor.enter().unwrap();
        runner.spawner().spawn_detached(nothing()).unwrap();
        runner.run(NeverIdle);
        assert_eq!(
            crate::block_on(
                async {
                    turns(3).await;
                    7
                },
                NeverIdle
            ),
            7
        );
        assert!(
            MACHINE.alarm.lock().unwrap().is_some(),
            "the owner's alarm is on"
        );
        // Each kind of loop is refused if it waits for a timer.
        let text = refusal(|| crate::block_on(Timer::after(Duration::from_millis(20)), NeverIdle));
        assert!(text.contains("has one owner at a time"), "{text}");
        runner
            .spawner()
            .spawn_detached(sleeper(20_000_000))
            .unwrap();
        let text = refusal(|| runner.run(NeverIdle));
        assert!(text.contains("Runner::with_timers"), "{text}");
        assert!(
            MACHINE.alarm.lock().unwrap().is_some(),
            "the owner's alarm is on"
        );
        owner.join().expect("it is not disturbed");
        // The queue has no owner now.
        crate::block_on(
            Timer::after(Duration::from_millis(20)),
            Sleep(&MACHINE, timers),
        );
    });
}

/// Two executors on two threads, each with a queue of its own, do not disturb each other.
#[test]
#[cfg_attr(miri, ignore = "it goes by real time")]
fn each_thread_has_a_queue_of_its_own() {
    static MACHINES: [ThreadDevices; 2] = [const { ThreadDevices::new() }; 2];
    static TIMERS: [TimerQueue; 2] = [const { TimerQueue::new() }; 2];
    tasks! { async fn sleeper(timer: Timer), pool = 8 { timer.await } }
    let threads: Vec<_> = (0..2)
        .map(|vcpu| {
            thread::spawn(move || {
                let (machine, timers) = (&MACHINES[vcpu], &TIMERS[vcpu]);
                timers.install(machine, machine).unwrap();
                let executor = executor::<Up64>();
                let mut runner = executor.enter().unwrap().with_timers(timers);
                for millis in [30, 10, 20] {
                    let at = Instant::from_nanos(now() + millis * 1_000_000);
                    runner
                        .spawner()
                        .spawn_detached(sleeper(timers.timer(at)))
                        .unwrap();
                }
                runner.run(Sleep(machine, timers));
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("all sleeps end");
    }
}

/// Between two calls of `run_until_idle` the queue has no owner, but its alarm is set. A loop on
/// another thread that has no timers leaves it alone.
#[test]
fn a_loop_without_timers_leaves_the_alarm_on() {
    let station = Station::new();
    tasks! {
        async fn sleeper(station: Station) -> u64, pool = 1 {
            station.timer(1000).await;
            station.now()
        }
    }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap().with_timers(station.timers);
    let handle = runner.spawner().spawn(sleeper(station)).unwrap();
    let deadline = Some(Instant::from_nanos(1000));
    assert_eq!(runner.run_until_idle().next_deadline, deadline);
    let other = thread::spawn(move || {
        tasks! { async fn nothing(), pool = 1 {} }
        let other = self::executor::<Up64>();
        let mut runner = other.enter().unwrap().with_timers(station.timers);
        runner.spawner().spawn_detached(nothing()).unwrap();
        runner.run(NeverIdle);
    });
    other.join().expect("it needs no timers");
    assert_eq!(station.clock.alarm(), deadline);
    runner.run(station);
    assert_eq!(end_of(handle), Ok(1000));
}
