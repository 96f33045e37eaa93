//! The queue against devices that are threads, steps of a model, or hostile.

#[cfg(feature = "console")]
mod consoles;
#[cfg(feature = "blk")]
mod disks;
mod fake;
mod hostile;
mod model;
#[cfg(feature = "net")]
mod nets;
mod side;
#[cfg(any(feature = "net", feature = "vsock"))]
mod steps;
mod threads;
#[cfg(feature = "vsock")]
mod vsocks;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

/// How long a thread waits for another one, far longer than any step takes.
const LIMIT: Duration = Duration::from_secs(60);

/// A waker that stores that it was woken, and unparks the thread that made it.
struct Flag {
    woken: AtomicBool,
    thread: Thread,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Flag {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            woken: AtomicBool::new(true),
            thread: thread::current(),
        })
    }

    fn take(&self) -> bool {
        self.woken.swap(false, Ordering::SeqCst)
    }
}

/// Waits until this thread is unparked.
fn park() {
    let start = Instant::now();
    thread::park_timeout(LIMIT);
    assert!(start.elapsed() < LIMIT, "a wake is lost");
}

/// Polls a future to its end, only when it is woken.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = Box::pin(future);
    let flag = Flag::new();
    loop {
        while !flag.take() {
            park();
        }
        if let Poll::Ready(output) = poll(future.as_mut(), &flag) {
            return output;
        }
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>, flag: &Arc<Flag>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(flag))))
}
