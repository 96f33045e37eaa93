//! [`Threads`]: the runtime that needs no other crate.

use std::{
    collections::VecDeque,
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use crate::runtime::{HostTask, Runtime};

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(1);

/// The number of threads of the default runtime.
const DEFAULT: usize = 64;

/// A runtime of threads, which come as they are needed and go when they are not. Functions may
/// block: each then holds a thread. It has no timers and no sockets of its own.
///
/// Dropping it drops the calls that no thread is polling, and ends the threads as they return. As
/// an `Arc<Threads>` it can be the runtime of many hosts, which then share its threads.
pub struct Threads(Arc<Pool>);

struct Pool {
    state: Mutex<PoolState>,
    /// There is a job, or the pool is closed.
    changed: Condvar,
    most: usize,
}

struct PoolState {
    jobs: VecDeque<Arc<Job>>,
    threads: usize,
    idle: usize,
    is_closed: bool,
}

impl Threads {
    /// Uses `most` threads at most, and at least one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Pool {
            state: Mutex::new(PoolState {
                jobs: VecDeque::new(),
                threads: 0,
                idle: 0,
                is_closed: false,
            }),
            changed: Condvar::new(),
            most: most.max(1),
        }))
    }
}

impl Default for Threads {
    fn default() -> Self {
        Self::new(DEFAULT)
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = self.0.state().threads;
        f.debug_struct("Threads")
            .field("most", &self.0.most)
            .field("threads", &threads)
            .finish()
    }
}

impl Runtime for Threads {
    fn spawn(&self, task: HostTask) {
        let job = Arc::new(Job {
            task: Mutex::new(Some(task)),
            state: AtomicU8::new(QUEUED),
            pool: Arc::clone(&self.0),
        });
        Pool::push(&self.0, job);
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_closed = true;
        let jobs = mem::take(&mut state.jobs);
        drop(state);
        self.0.changed.notify_all();
        // What they hold is the user's: it is dropped while nothing is locked.
        drop(jobs);
    }
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, PoolState> {
        // Nothing panics while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(pool: &Arc<Self>, job: Arc<Job>) {
        let mut state = pool.state();
        if state.is_closed {
            drop(state);
            return drop(job);
        }
        state.jobs.push_back(job);
        if state.jobs.len() <= state.idle || state.threads >= pool.most {
            drop(state);
            return pool.changed.notify_one();
        }
        state.threads += 1;
        drop(state);
        let own = Arc::clone(pool);
        let thread = thread::Builder::new().name("dormir-host-call".into());
        if thread.spawn(move || own.work()).is_err() {
            let mut state = pool.state();
            state.threads -= 1;
            // Without a thread none would ever be polled.
            let stranded = if state.threads == 0 {
                mem::take(&mut state.jobs)
            } else {
                VecDeque::new()
            };
            drop(state);
            drop(stranded);
        }
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            job.run();
        }
    }

    /// Waits for a job; `None` if the thread is not needed any more, and then it is not counted any
    /// more either.
    fn next(&self) -> Option<Arc<Job>> {
        let mut state = self.state();
        let mut is_over = false;
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if is_over || state.is_closed {
                state.threads -= 1;
                return None;
            }
            state.idle += 1;
            let woken = self.changed.wait_timeout(state, IDLE);
            let (locked, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
            state = locked;
            state.idle -= 1;
            is_over = timeout.timed_out();
        }
    }
}

/// A task. Its wakers hold it; when they are gone, nothing can wake it, and it is dropped.
struct Job {
    /// Only the thread that runs the job locks it.
    task: Mutex<Option<HostTask>>,
    state: AtomicU8,
    pool: Arc<Pool>,
}

// The states of a job.
const IDLE_JOB: u8 = 0;
const QUEUED: u8 = 1;
/// A thread polls it. When it has ended, it stays so.
const POLLED: u8 = 2;
/// A thread polls it, and it was woken since.
const WOKEN: u8 = 3;

impl Job {
    fn run(self: Arc<Self>) {
        self.state.store(POLLED, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&self));
        let mut slot = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut task) = slot.take() else {
            return;
        };
        // The guest's calls catch their panics; tasks of other users end with them.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            task.as_mut().poll(&mut Context::from_waker(&waker))
        }));
        if !matches!(polled, Ok(Poll::Pending)) {
            drop(slot);
            let _ = catch_unwind(AssertUnwindSafe(|| drop(task)));
            return;
        }
        *slot = Some(task);
        drop(slot);
        // It is queued again only now, so it never takes a second thread.
        let idle =
            self.state
                .compare_exchange(POLLED, IDLE_JOB, Ordering::SeqCst, Ordering::SeqCst);
        if idle.is_err() {
            self.state.store(QUEUED, Ordering::SeqCst);
            let pool = Arc::clone(&self.pool);
            Pool::push(&pool, self);
        }
    }
}

impl Wake for Job {
    fn wake(self: Arc<Self>) {
        let woken =
            self.state
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |state| match state {
                    IDLE_JOB => Some(QUEUED),
                    POLLED => Some(WOKEN),
                    _ => None,
                });
        if woken == Ok(IDLE_JOB) {
            let pool = Arc::clone(&self.pool);
            Pool::push(&pool, self);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, sync::mpsc, time::Instant};

    const LIMIT: Duration = Duration::from_secs(30);

    #[test]
    fn blocking_tasks_run_side_by_side_up_to_the_most() {
        let threads = Threads::new(4);
        let (sender, receiver) = mpsc::channel();
        let start = Instant::now();
        for _ in 0..8 {
            let sender = sender.clone();
            threads.spawn(Box::pin(async move {
                thread::sleep(Duration::from_millis(50));
                let _ = sender.send(());
            }));
        }
        for _ in 0..8 {
            receiver.recv_timeout(LIMIT).expect("all run");
        }
        assert!(start.elapsed() >= Duration::from_millis(100));
        assert!(threads.0.state().threads <= 4);
        // They go when there is nothing to do.
        while threads.0.state().threads > 0 {
            assert!(start.elapsed() < LIMIT);
            thread::sleep(IDLE / 10);
        }
    }

    #[test]
    fn a_wake_from_anywhere_leads_to_a_poll() {
        let threads = Threads::new(2);
        let (sender, receiver) = mpsc::channel();
        let mut polls = 0;
        threads.spawn(Box::pin(poll_fn(move |cx| {
            polls += 1;
            if polls % 2 == 0 {
                cx.waker().wake_by_ref();
            } else {
                let waker = cx.waker().clone();
                thread::spawn(move || waker.wake());
            }
            if polls < 200 {
                return Poll::Pending;
            }
            let _ = sender.send(polls);
            Poll::Ready(())
        })));
        assert_eq!(receiver.recv_timeout(LIMIT), Ok(200));
    }

    /// A task that wakes itself and then blocks takes one thread.
    #[test]
    fn a_task_that_is_woken_in_its_poll_takes_no_second_thread() {
        let threads = Threads::new(2);
        let (begun, begins) = mpsc::channel();
        let (end, ends) = mpsc::channel();
        let (sender, receiver) = mpsc::channel();
        let mut polls = 0;
        threads.spawn(Box::pin(poll_fn(move |cx| {
            polls += 1;
            if polls == 1 {
                cx.waker().wake_by_ref();
                let _ = begun.send(());
                let _ = sender.send(ends.recv_timeout(LIMIT).is_ok());
                return Poll::Pending;
            }
            let _ = sender.send(polls == 2);
            Poll::Ready(())
        })));
        begins.recv_timeout(LIMIT).expect("it begins");
        thread::sleep(Duration::from_millis(50));
        threads.spawn(Box::pin(async move {
            let _ = end.send(());
        }));
        assert_eq!(receiver.recv_timeout(LIMIT), Ok(true));
        assert_eq!(receiver.recv_timeout(LIMIT), Ok(true));
    }

    #[test]
    fn a_panic_ends_the_task_alone() {
        let threads = Arc::new(Threads::new(1));
        let (sender, receiver) = mpsc::channel();
        for number in 0..3 {
            let sender = sender.clone();
            threads.spawn(Box::pin(async move {
                assert!(number == 2, "on purpose");
                let _ = sender.send(number);
            }));
        }
        assert_eq!(receiver.recv_timeout(LIMIT), Ok(2));
        assert_eq!(threads.0.state().threads, 1);
    }

    #[test]
    fn what_is_left_goes_with_the_pool() {
        let threads = Threads::new(1);
        let (sender, receiver) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        threads.spawn(Box::pin(async move {
            let _ = begun.send(());
            let _ = ends.recv();
        }));
        begins.recv_timeout(LIMIT).expect("it begins");
        threads.spawn(Box::pin(async move {
            let _held = sender;
        }));
        let pool = Arc::clone(&threads.0);
        drop(threads);
        // The second was dropped without a poll.
        assert!(receiver.recv_timeout(LIMIT).is_err());
        drop(end);
        let start = Instant::now();
        while pool.state().threads > 0 {
            assert!(start.elapsed() < LIMIT);
            thread::sleep(Duration::from_millis(5));
        }
    }
}
