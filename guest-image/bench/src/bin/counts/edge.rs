//! edge-executor: its `LocalExecutor` with the queue of fixed capacity, each pass by `try_tick`,
//! the cheapest way that it documents. Tasks are allocated on the heap, and so is the queue, once.

use alloc::vec::Vec;
use core::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use edge_executor::{BoundQueue, LocalExecutor, Task};

use dormir_bench_guest::{figures::Subject, stopwatch::Stopwatch};

use crate::{
    cases::{self, BenchExecutor, Join, on_a_clean_heap},
    tasks::EndingTask,
};

pub(crate) const NAME: &str = "edge";

/// An executor with room for C ready tasks.
struct Edge<const C: usize> {
    executor: LocalExecutor<'static, BoundQueue<C>>,
    handles: Vec<Task<usize>>,
}

impl<const C: usize> Edge<C> {
    fn new() -> Self {
        let executor = LocalExecutor::new();
        // The queue is allocated at the first use, which is not part of a task's cost.
        assert!(!executor.try_tick(), "there is no task yet");
        Self {
            executor,
            handles: Vec::with_capacity(C),
        }
    }
}

impl<F: Future + 'static, const C: usize> BenchExecutor<F> for Edge<C> {
    #[inline]
    fn spawn(&mut self, task: F) {
        self.executor.spawn(task).detach();
    }

    #[inline(always)]
    fn pass(&mut self) {
        while self.executor.try_tick() {}
    }
}

impl<const C: usize> Join for Edge<C> {
    #[inline]
    fn join(&mut self, n: usize) -> usize {
        for index in 0..n {
            self.handles.push(self.executor.spawn(EndingTask(index)));
        }
        while self.executor.try_tick() {}
        let mut cx = Context::from_waker(Waker::noop());
        let take = |mut handle: Task<usize>| match Pin::new(&mut handle).poll(&mut cx) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("it has completed"),
        };
        self.handles.drain(..).map(take).sum()
    }
}

pub(crate) fn run(watch: &Stopwatch, max: usize) {
    macro_rules! with {
        ($($n:literal)*) => {$(
            if $n <= max {
                let with_room_for = |capacity| Subject {
                    runtime: NAME,
                    n: $n,
                    capacity: Some(capacity),
                    cpus: None,
                };
                let subject = with_room_for($n);
                on_a_clean_heap(|| cases::idle(&mut Edge::<$n>::new(), watch, &subject));
                on_a_clean_heap(|| cases::join(&mut Edge::<$n>::new(), watch, &subject));
                let subject = with_room_for(cases::ping_pong_size($n));
                on_a_clean_heap(|| {
                    const SIZE: usize = cases::ping_pong_size($n);
                    cases::ping_pong(&mut Edge::<SIZE>::new(), watch, &subject);
                });
            }
        )*};
    }
    with!(1 64 1024 4096);
}
