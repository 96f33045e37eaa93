//! The guest and the scheduler.

use std::{
    collections::{BTreeMap, HashSet},
    mem,
    sync::atomic::{AtomicBool, Ordering},
    task::Wake,
};

use dormir_hyperlight_protocol::{
    FromHost, Reply,
    guest::{Calls, Progress},
};

use super::*;

/// How many calls a run makes.
const CALLS: u32 = 2_000;

/// How many runs there are, each with another seed, unless the variable has another number.
const RUNS: u64 = 100;

/// More than a guest can ask for.
const AMPLE: Limits = Limits::new().with_calls(10_000).with_bytes(1 << 30);

/// More than the largest result, except those of calls that are to be refused; and less than two.
const BUDGET: usize = 65_000;

/// What a run has, and what came of it.
struct Run {
    random: Random,
    /// Whether the host's limits are less than what the guest asks for.
    is_scarce: bool,
    /// Whether the guest awaits its calls one after the other, or all at once.
    is_in_turn: bool,
    /// Whether there are restores, other hosts and cancelled waits.
    has_restores: bool,
    ends: Ends,
    /// Signals that the host was given, and those that came.
    signalled: BTreeMap<u8, u32>,
    received: BTreeMap<u8, u32>,
}

/// How calls ended.
#[derive(Debug, Default)]
struct Ends {
    /// Of functions that return results: those that came, and the others.
    ok: u32,
    not_ok: u32,
    errors: BTreeMap<&'static str, u32>,
}

impl Ends {
    fn note(&mut self, wish: Wish, result: &CallResult) {
        let error = match result {
            Ok(_) => "none",
            Err(CallError::Host(_)) => "host",
            Err(CallError::Panicked) => "panicked",
            Err(CallError::Unknown) => "unknown",
            Err(CallError::Busy) => "busy",
            Err(CallError::TooLarge) => "too large",
            Err(CallError::Lost) => "lost",
            Err(_) => "another",
        };
        *self.errors.entry(error).or_default() += 1;
        match result {
            Ok(_) => self.ok += 1,
            Err(_) if wish.kind <= 5 => self.not_ok += 1,
            Err(_) => {}
        }
    }

    fn add(&mut self, other: &Self) {
        self.ok += other.ok;
        self.not_ok += other.not_ok;
        for (error, count) in &other.errors {
            *self.errors.entry(error).or_default() += count;
        }
    }

    /// Whether this many of a hundred results came.
    fn came(&self, percent: u32) -> bool {
        100 * self.ok >= percent * (self.ok + self.not_ok)
    }
}

/// Whether a call's task was woken.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A call in flight.
#[derive(Clone)]
struct InFlight {
    id: CallId,
    wish: Wish,
    woken: Arc<Woken>,
    /// Whether its task has polled it.
    is_awaited: bool,
    may_be_lost: bool,
}

impl InFlight {
    /// Whether its task was woken since the last time.
    fn takes_wake(&self) -> bool {
        self.woken.0.swap(false, Ordering::Relaxed)
    }
}

/// A guest: what a snapshot keeps.
#[derive(Clone)]
struct Guest {
    calls: Calls,
    in_flight: Vec<InFlight>,
    /// The call that its task waits for, if one task awaits all of them.
    awaited: Option<CallId>,
}

/// How an exchange ends.
enum Exchange {
    Good,
    BatchIsLost,
    ReplyIsLost,
}

impl Guest {
    fn new() -> Self {
        let mut calls = Calls::new();
        calls.set_budget(BUDGET);
        Self {
            calls,
            in_flight: Vec::new(),
            awaited: None,
        }
    }

    fn call(&mut self, number: u32, random: &mut Random) {
        let wish = Wish::new(number, random);
        let name = if wish.kind == 8 { "nothing" } else { "wish" };
        if let Ok(id) = self.calls.call(name, &wish.argument()) {
            self.in_flight.push(InFlight {
                id,
                wish,
                woken: Arc::new(Woken(AtomicBool::new(false))),
                is_awaited: false,
                may_be_lost: false,
            });
        }
    }

    /// The guest is not the one that the host knows, or the other way round.
    fn is_restored(&mut self) {
        for call in &mut self.in_flight {
            call.may_be_lost = true;
            // The snapshot shares it with what was before.
            call.woken.0.store(true, Ordering::Relaxed);
        }
    }

    fn exchange(&mut self, run: &mut Run, host: &Arc<HostState>, how: Exchange) {
        let bytes = self.calls.batch(0, false, false);
        let batch = Batch::parse(&bytes).expect("it is sound");
        let reply = match how {
            Exchange::BatchIsLost => None,
            _ => Some(host.exchange(&bytes)),
        };
        if let (Exchange::Good, Some(reply)) = (&how, reply) {
            let reply = Reply::parse(&reply).expect("it is sound");
            assert!(self.calls.take_reply(&reply));
            for record in reply.records() {
                if let FromHost::Signal { event, count } = record {
                    *run.received.entry(event).or_default() += count;
                }
            }
        } else {
            self.calls.no_answer();
            // The others are not, whatever became of the reply.
            let sent: HashSet<CallId> = batch
                .records()
                .filter_map(|record| match record {
                    ToHost::Call { id, .. } => Some(id),
                    _ => None,
                })
                .collect();
            let lost = |call: &&mut InFlight| sent.contains(&call.id);
            let lost = self.in_flight.iter_mut().filter(lost);
            lost.for_each(|call| call.may_be_lost = true);
        }
        assert!(self.calls.held() <= BUDGET);
        while let Some(waker) = self.calls.next_woken() {
            waker.wake();
        }
        self.poll(run);
        assert_eq!(self.calls.in_use(), self.in_flight.len());
    }

    /// Polls the tasks that were woken, and those that begin to wait.
    fn poll(&mut self, run: &mut Run) {
        let mut index = 0;
        while !run.is_in_turn && index < self.in_flight.len() {
            let call = &mut self.in_flight[index];
            let is_new = !mem::replace(&mut call.is_awaited, true);
            let is_polled = call.takes_wake() || is_new;
            if !(is_polled && self.poll_one(run, index)) {
                index += 1;
            }
        }
        if !run.is_in_turn {
            return;
        }
        // A task may look after a call, and go on to wait for another one.
        if run.random.below(4) == 0 && self.in_flight.len() > 1 {
            let other = 1 + run.random.below(self.in_flight.len() - 1);
            self.poll_one(run, other);
        }
        while let Some(first) = self.in_flight.first() {
            let is_new = self.awaited.replace(first.id) != Some(first.id);
            let is_polled = first.takes_wake() || is_new;
            if !(is_polled && self.poll_one(run, 0)) {
                break;
            }
        }
    }

    /// Polls a call. Returns whether it has ended.
    fn poll_one(&mut self, run: &mut Run, index: usize) -> bool {
        let call = &self.in_flight[index];
        let waker = Waker::from(Arc::clone(&call.woken));
        let Progress::Ended(result) = self.calls.poll(call.id, &waker) else {
            self.calls.set_waker(call.id, waker);
            return false;
        };
        let is_right = call.wish.may_be(&result, call.may_be_lost, run.is_scarce);
        assert!(is_right, "kind {} ended with {result:?}", call.wish.kind);
        run.ends.note(call.wish, &result);
        self.in_flight.remove(index);
        true
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        Self {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            is_scarce: seed & 1 == 0,
            is_in_turn: seed & 2 == 0,
            has_restores: !seed.is_multiple_of(3),
            ends: Ends::default(),
            signalled: BTreeMap::new(),
            received: BTreeMap::new(),
        }
    }

    fn host(&self, alive: &Arc<()>) -> (Arc<HostState>, Steps) {
        let (host, steps) = host(alive);
        host.set_limits(self.limits());
        (host, steps)
    }

    fn limits(&self) -> Limits {
        if self.is_scarce { LIMITS } else { AMPLE }
    }

    fn run(&mut self) {
        let alive = Arc::new(());
        let (mut host, mut steps) = self.host(&alive);
        let mut guest = Guest::new();
        let mut snapshot = guest.clone();
        let mut number = 0;
        while number < CALLS {
            match self.random.below(400) {
                0..150 => {
                    number += 1;
                    guest.call(number, &mut self.random);
                }
                150..165 => {
                    if !guest.in_flight.is_empty() {
                        let chosen = self.random.below(guest.in_flight.len());
                        let dropped = guest.in_flight.remove(chosen);
                        guest.calls.cancel(dropped.id);
                    }
                }
                165..300 => {
                    for _ in 0..if self.is_scarce { 1 } else { 4 } {
                        steps.poll_one(&mut self.random);
                    }
                }
                300..380 => guest.exchange(self, &host, Exchange::Good),
                380..385 => guest.exchange(self, &host, Exchange::BatchIsLost),
                385..390 => guest.exchange(self, &host, Exchange::ReplyIsLost),
                390 => {
                    let event = self.random.below(256) as u8;
                    host.signal(event);
                    *self.signalled.entry(event).or_default() += 1;
                }
                _ if !self.has_restores => {}
                391..395 => snapshot = guest.clone(),
                395..398 => {
                    guest = snapshot.clone();
                    guest.is_restored();
                    if self.random.below(2) == 0 {
                        number += 1;
                        guest.call(number, &mut self.random);
                        guest.exchange(self, &host, Exchange::BatchIsLost);
                    }
                }
                398 => {
                    host.cancel();
                    // What sandboxes do then.
                    guest = snapshot.clone();
                    guest.is_restored();
                    host.changing().is_cancelled = false;
                }
                _ => {
                    host.close();
                    assert_eq!(host.usage().bytes, 0);
                    steps.0.lock().expect("no panic").clear();
                    assert_eq!(host.usage().calls, 0);
                    (host, steps) = self.host(&alive);
                    guest.is_restored();
                }
            }
            let (usage, limits) = (host.usage(), self.limits());
            assert!(
                usage.calls <= limits.calls && usage.bytes <= limits.bytes,
                "{usage:?}"
            );
        }
        // Whatever happened, all end.
        let mut rounds = 0;
        while !(guest.in_flight.is_empty() && steps.is_empty()) {
            steps.poll_one(&mut self.random);
            guest.exchange(self, &host, Exchange::Good);
            rounds += 1;
            assert!(rounds < 20_000, "{} do not end", guest.in_flight.len());
        }
        guest.exchange(self, &host, Exchange::Good);
        guest.exchange(self, &host, Exchange::Good);
        assert_eq!((host.usage().calls, host.usage().bytes), (0, 0));
        assert!(!guest.calls.has_news() && !guest.calls.expects());
        assert_eq!(guest.calls.held(), 0);
        assert_eq!(Arc::strong_count(&alive), 1, "a function's future is left");
        if !self.has_restores {
            assert_eq!(self.received, self.signalled, "the signals");
            assert!(self.is_scarce || self.ends.came(80), "{:?}", self.ends);
        }
    }
}

#[test]
fn every_call_ends_once() {
    let (mut scarce, mut ample) = (Ends::default(), Ends::default());
    for seed in 1..=number_of_runs(RUNS) {
        println!("seed {seed}");
        let mut run = Run::new(seed);
        run.run();
        println!("{:?}", run.ends);
        let all = if run.is_scarce {
            &mut scarce
        } else {
            &mut ample
        };
        all.add(&run.ends);
    }
    println!("scarce {scarce:?}\nample {ample:?}");
    if number_of_runs(RUNS) < 20 {
        return;
    }
    // Calls end otherwise because something was lost, and for no other reason.
    assert!(ample.came(60) && scarce.came(10));
    assert!(!ample.errors.contains_key("busy"));
    for end in ["none", "host", "panicked", "unknown", "too large", "lost"] {
        assert!(ample.errors.contains_key(end), "no call ended with {end}");
    }
    assert!(scarce.errors.contains_key("busy"));
}
