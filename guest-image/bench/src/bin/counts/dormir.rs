//! dormir: every capacity, with `Shared` and `SingleVcpu`; a pass is `Runner::pass`.

mod timers;

use alloc::vec::Vec;
use core::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use ::dormir::executor::{
    Capacity, Cpus, Executor, JoinHandle, Runner, Shared, SingleVcpu, Spawner, Task, Up64, Up4096,
    Up65536,
};

use dormir_bench_guest::{figures::Subject, stopwatch::Stopwatch};

use crate::{
    cases::{self, Join},
    tasks::{EndingTask, IdleTask, PingPongTask},
};

pub(crate) const NAME: &str = "dormir";

/// An entered executor, and the function that makes its tasks.
struct Dormir<C: Capacity, M: Cpus, T> {
    runner: Runner<C, M>,
    spawner: Spawner,
    task: T,
    handles: Vec<JoinHandle<usize>>,
}

impl<C: Capacity, M: Cpus, T> Dormir<C, M, T> {
    fn enter(executor: &'static Executor<C, M>, task: T) -> Self {
        let runner = executor.enter().expect("it is entered once");
        Self {
            spawner: runner.spawner(),
            runner,
            task,
            handles: Vec::with_capacity(C::TASKS as usize),
        }
    }

    #[inline]
    fn spawn<F: Future + 'static>(&self, task: F) -> JoinHandle<F::Output>
    where
        T: Fn(F) -> Task<F>,
    {
        match self.spawner.spawn((self.task)(task)) {
            Ok(handle) => handle,
            Err(_) => panic!("pool and executor have room for all"),
        }
    }
}

impl<C, M, F, T> cases::BenchExecutor<F> for Dormir<C, M, T>
where
    C: Capacity,
    M: Cpus,
    F: Future<Output = ()> + 'static,
    T: Fn(F) -> Task<F>,
{
    #[inline]
    fn spawn(&mut self, task: F) {
        if self.spawner.spawn_detached((self.task)(task)).is_err() {
            panic!("pool and executor have room for all");
        }
    }

    #[inline(always)]
    fn pass(&mut self) {
        self.runner.pass();
    }
}

impl<C: Capacity, M: Cpus, T: Fn(EndingTask) -> Task<EndingTask>> Join for Dormir<C, M, T> {
    #[inline]
    fn join(&mut self, n: usize) -> usize {
        for index in 0..n {
            let handle = self.spawn(EndingTask(index));
            self.handles.push(handle);
        }
        self.runner.pass();
        let mut cx = Context::from_waker(Waker::noop());
        let take = |mut handle: JoinHandle<usize>| match Pin::new(&mut handle).poll(&mut cx) {
            Poll::Ready(Ok(result)) => result,
            _ => panic!("it has completed"),
        };
        self.handles.drain(..).map(take).sum()
    }
}

pub(crate) fn run(watch: &Stopwatch, max: usize) {
    macro_rules! with {
        ($capacity:ident $cpus_name:literal $cpus_type:ty, $cpus:expr, $($n:literal)*) => {$(
            if $n <= max {
                ::dormir::tasks! {
                    fn idle(task: IdleTask) -> IdleTask, pool = $n { task }
                    fn ending(task: EndingTask) -> EndingTask, pool = $n { task }
                }
                static IDLE: Executor<$capacity, $cpus_type> = Executor::new($cpus);
                static ENDING: Executor<$capacity, $cpus_type> = Executor::new($cpus);
                let subject = Subject {
                    runtime: NAME,
                    n: $n,
                    capacity: Some($capacity::TASKS as usize),
                    cpus: Some($cpus_name),
                };
                cases::idle(&mut Dormir::enter(&IDLE, idle), watch, &subject);
                static BOXED: Executor<$capacity, $cpus_type> = Executor::new($cpus);
                cases::boxed(&mut Dormir::enter(&BOXED, Task::boxed), watch, &subject);
                cases::join(&mut Dormir::enter(&ENDING, ending), watch, &subject);
                const SIZE: usize = cases::ping_pong_size($n);
                ::dormir::tasks! {
                    fn ping_pong(task: PingPongTask) -> PingPongTask, pool = SIZE { task }
                }
                static PING_PONG: Executor<$capacity, $cpus_type> = Executor::new($cpus);
                cases::ping_pong(&mut Dormir::enter(&PING_PONG, ping_pong), watch, &subject);
            }
        )*};
    }
    macro_rules! with_cpus {
        ($cpus_name:literal $cpus_type:ty, $cpus:expr) => {
            with!(Up64 $cpus_name $cpus_type, $cpus, 1 64);
            with!(Up4096 $cpus_name $cpus_type, $cpus, 1 64 1024 4096);
            with!(Up65536 $cpus_name $cpus_type, $cpus, 1 64 1024 4096 65536);
            with_timers!(Up64 Up4096 Up65536, $cpus_name $cpus_type, $cpus);
        };
    }
    macro_rules! with_timers {
        ($($capacity:ident)*, $cpus_name:literal $cpus_type:ty, $cpus:expr) => {$({
            static SLEEPING: Executor<$capacity, $cpus_type> = Executor::new($cpus);
            timers::run(&SLEEPING, $cpus_name, watch, max);
        })*};
    }
    timers::install();
    with_cpus!("shared" Shared, Shared);
    // SAFETY: this guest has one vCPU.
    with_cpus!("single" SingleVcpu, unsafe { SingleVcpu::new() });
}
