//! futures-util's `FuturesUnordered`, polled as a stream by one task. Its futures are allocated on
//! the heap.

use core::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use futures_util::stream::{FuturesUnordered, Stream};

use dormir_bench_guest::{figures::Subject, stopwatch::Stopwatch};

use crate::{
    cases::{self, BenchExecutor, Join, on_a_clean_heap},
    tasks::EndingTask,
};

pub(crate) const NAME: &str = "futures-unordered";

/// Polls for the next result, with a waker that does nothing.
#[inline]
fn poll<F: Future>(set: &mut FuturesUnordered<F>) -> Poll<Option<F::Output>> {
    Pin::new(set).poll_next(&mut Context::from_waker(Waker::noop()))
}

impl<F: Future<Output = ()>> BenchExecutor<F> for FuturesUnordered<F> {
    #[inline]
    fn spawn(&mut self, task: F) {
        self.push(task);
    }

    /// One poll of the set polls all ready tasks, or returns at the first that completes.
    #[inline(always)]
    fn pass(&mut self) {
        while let Poll::Ready(Some(())) = poll(self) {}
    }
}

impl Join for FuturesUnordered<EndingTask> {
    #[inline]
    fn join(&mut self, n: usize) -> usize {
        for index in 0..n {
            self.push(EndingTask(index));
        }
        let mut sum = 0;
        while let Poll::Ready(Some(result)) = poll(self) {
            sum += result;
        }
        sum
    }
}

pub(crate) fn run(watch: &Stopwatch, max: usize) {
    for n in [1, 64, 1024, 4096, 65_536] {
        if n <= max {
            let subject = Subject {
                runtime: NAME,
                n,
                capacity: None,
                cpus: None,
            };
            on_a_clean_heap(|| cases::idle(&mut FuturesUnordered::new(), watch, &subject));
            on_a_clean_heap(|| cases::ping_pong(&mut FuturesUnordered::new(), watch, &subject));
            on_a_clean_heap(|| cases::join(&mut FuturesUnordered::new(), watch, &subject));
        }
    }
}
