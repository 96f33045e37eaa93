//! Both sides over a connection: batches and replies arrive late and in their order, early batches
//! among them. Nothing is restored, so each call ends with its own result.

use std::collections::VecDeque;

use dormir_hyperlight_protocol::{
    frame,
    guest::{Calls, Link, Progress},
};

use super::*;

/// How many calls a run makes.
const CALLS: u32 = 1_000;

/// How many runs there are, each with another seed, unless the variable has another number.
const RUNS: u64 = 40;

/// As much as the largest result, except those of calls that are to be refused.
const BUDGET: usize = 60_000;

/// More than a guest can ask for.
const AMPLE: Limits = Limits::new().with_calls(10_000).with_bytes(1 << 30);

struct Run {
    random: Random,
    host: Arc<HostState>,
    steps: Steps,
    calls: Calls,
    link: Link,
    in_flight: Vec<(CallId, Wish, Task)>,
    /// What is under way.
    batches: VecDeque<Vec<u8>>,
    replies: VecDeque<Vec<u8>>,
    /// How many batches were early, and how many results came.
    early: u32,
    came: u32,
}

impl Run {
    fn new(seed: u64, alive: &Arc<()>) -> Self {
        let (host, steps) = host(alive);
        host.set_limits(AMPLE);
        // Only the scheduler lets time pass.
        host.set_longest_wait(Duration::ZERO);
        let mut calls = Calls::new();
        calls.set_budget(BUDGET);
        Self {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            host,
            steps,
            calls,
            link: Link::new(),
            in_flight: Vec::new(),
            batches: VecDeque::new(),
            replies: VecDeque::new(),
            early: 0,
            came: 0,
        }
    }

    fn call(&mut self, number: u32) {
        let wish = Wish::new(number, &mut self.random);
        let name = if wish.kind == 8 { "nothing" } else { "wish" };
        if let Ok(id) = self.calls.call(name, &wish.argument()) {
            self.in_flight.push((id, wish, Task::new()));
        }
    }

    fn drop_one(&mut self) {
        if !self.in_flight.is_empty() {
            let chosen = self.random.below(self.in_flight.len());
            let (id, ..) = self.in_flight.swap_remove(chosen);
            self.calls.cancel(id);
        }
    }

    fn send(&mut self) {
        if self.link.is_due(&self.calls, false) {
            let bytes = self.link.batch(&mut self.calls, false);
            let bytes = &bytes[size_of::<frame::Prefix>()..];
            let batch = Batch::parse(bytes).expect("it is sound");
            self.early += u32::from(batch.header.flags.is_early);
            self.batches.push_back(bytes.to_vec());
            assert!(self.batches.len() + self.replies.len() <= 2);
            self.wake();
        }
    }

    fn answer(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            self.replies.push_back(self.host.exchange(&batch));
        }
    }

    fn receive(&mut self) {
        if let Some(reply) = self.replies.pop_front() {
            let taken = self.link.take(&mut self.calls, &reply);
            taken.expect("it is sound");
            assert!(self.calls.held() <= BUDGET);
            self.wake();
        }
    }

    fn wake(&mut self) {
        while let Some(waker) = self.calls.next_woken() {
            waker.wake();
        }
    }

    /// Polls a task that was woken.
    fn poll(&mut self) {
        let mut woken = self.in_flight.iter().map(|(.., task)| task);
        let Some(chosen) = woken.position(Task::takes_wake) else {
            return;
        };
        let (id, wish, task) = &self.in_flight[chosen];
        match self.calls.poll(*id, &task.waker()) {
            Progress::Waits(_) => drop(self.calls.set_waker(*id, task.waker())),
            Progress::Ended(result) => {
                let is_right = wish.may_be(&result, false, false);
                assert!(is_right, "kind {} ended with {result:?}", wish.kind);
                self.came += u32::from(result.is_ok());
                self.in_flight.swap_remove(chosen);
            }
        }
    }

    /// Does one of the things that can happen, but for calls.
    fn step(&mut self) {
        match self.random.below(6) {
            0 => self.send(),
            1 => self.answer(),
            2 => self.receive(),
            3 => self.poll(),
            _ => self.steps.poll_one(&mut self.random),
        }
    }

    fn run(&mut self) {
        let mut number = 0;
        while number < CALLS {
            match self.random.below(40) {
                0..4 => {
                    number += 1;
                    self.call(number);
                }
                4 => self.drop_one(),
                _ => self.step(),
            }
        }
        let mut steps = 0;
        while !self.in_flight.is_empty() || !self.steps.is_empty() || self.calls.has_news() {
            self.step();
            steps += 1;
            assert!(steps < 1_000_000, "{} do not end", self.in_flight.len());
        }
        // The next batch acknowledges all.
        while !(self.batches.is_empty() && self.replies.is_empty()) {
            self.answer();
            self.receive();
        }
        assert!(self.calls.call("nothing", &[]).is_ok());
        self.send();
        self.answer();
        self.receive();
        assert_eq!((self.host.usage().calls, self.host.usage().bytes), (0, 0));
        assert_eq!(self.calls.held(), 0);
    }
}

#[test]
fn over_a_connection_every_call_ends_with_its_result() {
    let (mut early, mut came) = (0, 0);
    for seed in 1..=number_of_runs(RUNS) {
        println!("seed {seed}");
        let alive = Arc::new(());
        let mut run = Run::new(seed, &alive);
        run.run();
        early += run.early;
        came += run.came;
        assert_eq!(Arc::strong_count(&alive), 1, "a function's future is left");
    }
    println!("{early} batches were early, {came} results came");
    assert!(early > 100 && came > 100, "{early} early, {came} results");
}
