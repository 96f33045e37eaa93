//! Calls with streams, beside plain ones that want the same memory. The bytes of each stream come
//! in order, without a gap and without a repetition, to its end or to an error that the call may
//! have.

use dormir_hyperlight_protocol::{
    Reply,
    guest::{Calls, InputProgress, OutputProgress, Progress},
};

use super::*;
use crate::{streams::erased, table::STREAMS};
use plan::{Plan, stream};

mod plan;

/// How many calls a run makes, and how many runs there are.
const CALLS: u32 = 300;
const RUNS: u64 = 60;

/// What a guest may hold: less than what its streams and its other calls want.
const BUDGET: usize = 6000;

/// The longest result of a plain call.
const LONGEST: usize = BUDGET;

/// The calls that a guest has at once.
const MOST: usize = 12;

/// A call that the guest has made.
#[derive(Clone)]
struct InFlight {
    id: CallId,
    plan: Plan,
    /// `None` for a plain call.
    streams: Option<Streams>,
    task: Task,
    may_be_lost: bool,
}

#[derive(Clone)]
struct Streams {
    read: usize,
    sent: usize,
    /// Whether the input's end was sent.
    is_ended: bool,
    /// The error that its sender was told.
    told: Option<CallError>,
    writer: Task,
}

impl InFlight {
    /// Polls the tasks that were woken. Returns whether the call has ended.
    fn poll(&mut self, calls: &mut Calls, random: &mut Random, ends: &mut Ends) -> bool {
        let Some(streams) = &mut self.streams else {
            return self.poll_plain(calls);
        };
        let plan = self.plan;
        if !streams.is_ended && streams.writer.takes_wake() {
            loop {
                let left = plan.input as usize - streams.sent;
                if left == 0 {
                    calls.end_input(self.id);
                    streams.is_ended = true;
                    break;
                }
                let piece = plan.bytes(streams.sent, left.min(1 + random.below(9000)));
                let mut rest = piece.as_slice();
                let waker = streams.writer.waker();
                let sent = calls.poll_input(self.id, &mut rest, &waker);
                streams.sent += piece.len() - rest.len();
                match sent {
                    InputProgress::Queued => {}
                    InputProgress::Waits(_) => {
                        calls.set_writer(self.id, waker);
                        break;
                    }
                    InputProgress::Ended(error) => {
                        calls.abandon_input(self.id);
                        streams.is_ended = true;
                        streams.told = Some(error);
                        break;
                    }
                }
            }
        }
        if !self.task.takes_wake() {
            return false;
        }
        loop {
            match calls.poll_output(self.id, &self.task.waker()) {
                OutputProgress::Piece(piece) => {
                    let is_right = piece == plan.bytes(streams.read, piece.len());
                    assert!(is_right, "the output is wrong behind {}", streams.read);
                    streams.read += piece.len();
                    assert!(streams.read <= plan.expected(), "too much of {plan:?}");
                    // A slow reader takes the next one later.
                    if random.below(3) == 0 {
                        self.task.wake();
                        return false;
                    }
                }
                OutputProgress::Waits(_) => {
                    calls.set_waker(self.id, self.task.waker());
                    return false;
                }
                OutputProgress::Ended(end) => {
                    let is_whole = streams.read == plan.expected();
                    let is_right = match (plan.kind, &end) {
                        (_, Err(CallError::Lost)) => self.may_be_lost,
                        (0..=3, Ok(())) => is_whole,
                        // A guest that sends what the function does not take is told at once.
                        (4, Err(CallError::Host(message))) => {
                            message == "on purpose" && (is_whole || plan.input > 0)
                        }
                        (5, Err(CallError::Panicked)) => true,
                        _ => false,
                    };
                    assert!(is_right, "{plan:?} ended with {end:?} at {}", streams.read);
                    ends.note(&end, streams.read);
                    // Its sender learns the same, and may have learned it before.
                    if !streams.is_ended {
                        let sent = calls.poll_input(self.id, &mut &b"x"[..], Waker::noop());
                        if let InputProgress::Ended(error) = sent {
                            streams.told = Some(error);
                        }
                        calls.abandon_input(self.id);
                    }
                    if !streams.is_ended || streams.told.is_some() {
                        assert_eq!(streams.told, end.err());
                    }
                    return true;
                }
            }
        }
    }

    fn poll_plain(&mut self, calls: &mut Calls) -> bool {
        if !self.task.takes_wake() {
            return false;
        }
        match calls.poll(self.id, &self.task.waker()) {
            Progress::Waits(_) => {
                calls.set_waker(self.id, self.task.waker());
                false
            }
            Progress::Ended(Ok(bytes)) => {
                assert_eq!(bytes, self.plan.bytes(0, self.plan.output as usize));
                true
            }
            Progress::Ended(Err(error)) => {
                assert!(error == CallError::Lost && self.may_be_lost, "{error:?}");
                true
            }
        }
    }
}

/// How streams ended.
#[derive(Debug, Default)]
struct Ends {
    whole: u32,
    lost: u32,
    failed: u32,
    /// How much was read of those that are whole.
    bytes: usize,
}

impl Ends {
    fn note(&mut self, end: &Result<(), CallError>, read: usize) {
        match end {
            Ok(()) => {
                self.whole += 1;
                self.bytes += read;
            }
            Err(CallError::Lost) => self.lost += 1,
            Err(_) => self.failed += 1,
        }
    }
}

/// What a snapshot keeps.
#[derive(Clone)]
struct Guest {
    calls: Calls,
    in_flight: Vec<InFlight>,
}

impl Guest {
    fn new() -> Self {
        let mut calls = Calls::new();
        calls.set_budget(BUDGET);
        Self {
            calls,
            in_flight: Vec::new(),
        }
    }

    fn call(&mut self, number: u32, random: &mut Random) {
        let mut plan = Plan::new(number, random);
        let has_streams = random.below(4) > 0;
        let id = if has_streams {
            self.calls.streaming_call("stream", &plan.argument())
        } else {
            plan.output %= LONGEST as u32 + 1;
            self.calls.call("plain", &plan.argument())
        };
        self.in_flight.push(InFlight {
            id: id.expect("there is room"),
            plan,
            streams: has_streams.then(|| Streams {
                read: 0,
                sent: 0,
                is_ended: false,
                told: None,
                writer: Task::new(),
            }),
            task: Task::new(),
            may_be_lost: false,
        });
    }

    /// The guest is not the one that the host knows, or the other way round.
    fn may_be_lost(&mut self) {
        for call in &mut self.in_flight {
            call.may_be_lost = true;
        }
    }

    fn snapshot(&self) -> Self {
        let mut snapshot = self.clone();
        for call in &mut snapshot.in_flight {
            call.task.save();
            if let Some(streams) = &mut call.streams {
                streams.writer.save();
            }
        }
        snapshot
    }

    /// The guest as it was. Nothing wakes its tasks but what woke them before.
    fn restored(&self) -> Self {
        let mut guest = self.clone();
        guest.may_be_lost();
        for call in &guest.in_flight {
            call.task.restore();
            if let Some(streams) = &call.streams {
                streams.writer.restore();
            }
        }
        guest
    }

    /// Drops a call, or its input alone.
    fn drop_one(&mut self, random: &mut Random) {
        if self.in_flight.is_empty() {
            return;
        }
        let chosen = random.below(self.in_flight.len());
        let call = &mut self.in_flight[chosen];
        match &mut call.streams {
            Some(streams) if !streams.is_ended && random.below(2) == 0 => {
                streams.is_ended = true;
                call.may_be_lost = true;
                self.calls.abandon_input(call.id);
            }
            _ => {
                let call = self.in_flight.swap_remove(chosen);
                self.calls.cancel(call.id);
            }
        }
    }

    fn exchange(&mut self, host: &Arc<HostState>, how: usize) {
        let bytes = self.calls.batch(0, false, false);
        let reply = (how != 0).then(|| host.exchange(&bytes));
        if let (2.., Some(reply)) = (how, &reply) {
            let reply = Reply::parse(reply).expect("it is sound");
            assert!(self.calls.take_reply(&reply));
        } else {
            self.calls.no_answer();
            let batch = Batch::parse(&bytes).expect("it is sound");
            for record in batch.records() {
                let (ToHost::Call { id, .. } | ToHost::Chunk { id, .. } | ToHost::End(id)) = record
                else {
                    continue;
                };
                let call = self.in_flight.iter_mut().find(|call| call.id == id);
                call.into_iter().for_each(|call| call.may_be_lost = true);
            }
        }
        assert!(self.calls.held() <= BUDGET);
    }

    fn poll(&mut self, random: &mut Random, ends: &mut Ends) {
        while let Some(waker) = self.calls.next_woken() {
            waker.wake();
        }
        let Self { calls, in_flight } = self;
        in_flight.retain_mut(|call| !call.poll(calls, random, ends));
        while let Some(waker) = calls.next_woken() {
            waker.wake();
        }
        assert_eq!(calls.in_use(), in_flight.len());
    }
}

fn host(alive: &Arc<()>) -> (Arc<HostState>, Steps) {
    let (state, steps) = super::host(alive);
    state.set_limits(Limits::new());
    let function = erased(stream);
    state.functions.add_streaming("stream".into(), function);
    state.functions.add("plain".into(), |argument| async move {
        let plan = Plan::of(&argument);
        Ok::<_, String>(plan.bytes(0, plan.output as usize))
    });
    (state, steps)
}

fn run(seed: u64, ends: &mut Ends) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let has_restores = !seed.is_multiple_of(3);
    let alive = Arc::new(());
    let (mut host, mut steps) = self::host(&alive);
    let mut guest = Guest::new();
    let mut snapshot = guest.snapshot();
    let mut number = 0;
    let mut turns = 0;
    while number < CALLS {
        turns += 1;
        assert!(turns < 200_000, "calls do not end: {number} were made");
        match random.below(500) {
            0..60 if guest.in_flight.len() < MOST => {
                number += 1;
                guest.call(number, &mut random);
            }
            60..65 => guest.drop_one(&mut random),
            65..250 => steps.poll_one(&mut random),
            250..385 => guest.exchange(&host, 2),
            385..388 if has_restores => guest.exchange(&host, random.below(2)),
            388..391 => snapshot = guest.snapshot(),
            391 if has_restores => guest = snapshot.restored(),
            393 if has_restores => {
                host.cancel();
                guest = snapshot.restored();
                host.changing().is_cancelled = false;
            }
            394 if has_restores => {
                host.close();
                steps.0.lock().expect("no panic").clear();
                (host, steps) = self::host(&alive);
                guest.may_be_lost();
            }
            _ => guest.poll(&mut random, ends),
        }
        let usage = host.usage();
        // The streams' and arguments', and the plain results that the guest may have left here.
        let most = usage.calls * (STREAMS + LONGEST + 13);
        assert!(usage.bytes <= most, "{usage:?}");
    }
    // Whatever happened, all end.
    let mut rounds = 0;
    while !(guest.in_flight.is_empty() && steps.is_empty()) {
        guest.poll(&mut random, ends);
        steps.poll_one(&mut random);
        guest.exchange(&host, 2);
        rounds += 1;
        assert!(rounds < 20_000, "{} do not end", guest.in_flight.len());
    }
    guest.exchange(&host, 2);
    guest.exchange(&host, 2);
    let usage = host.usage();
    assert_eq!((usage.calls, usage.bytes), (0, 0));
    assert!(!guest.calls.has_news() && !guest.calls.expects());
    assert_eq!(guest.calls.held(), 0);
}

#[test]
fn every_stream_comes_in_order_and_ends_once() {
    let mut ends = Ends::default();
    for seed in 1..=number_of_runs(RUNS) {
        println!("seed {seed}");
        run(seed, &mut ends);
    }
    println!("{ends:?}");
    if number_of_runs(RUNS) < 20 {
        return;
    }
    assert!(ends.whole > ends.lost && ends.lost > 100 && ends.failed > 100);
    assert!(ends.bytes > 2000 * ends.whole as usize);
}
