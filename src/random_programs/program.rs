//! Programs, and how they follow from words.

use super::{
    alloc::{sync::Arc, vec::Vec},
    note::Loop,
};

/// The scripts that tasks follow. Further operations are those of interrupts.
const SCRIPTS: usize = 5;

/// The events that tasks wait for.
pub(crate) const EVENTS: usize = 3;

/// A script is what one task does, from its begin to its end.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) how: Loop,
    /// The scripts of the first tasks.
    pub(crate) first: usize,
    /// The runner is dropped, and another one enters, after this number of waits.
    pub(crate) leaves_after: Option<u32>,
    scripts: [Vec<Op>; SCRIPTS],
    /// What happens during waits, and how long after the one before, in units.
    pub(crate) interrupts: Vec<(u64, Act)>,
}

/// One operation of a script. Tasks, scripts and events are given by numbers modulo how many there
/// are; times in units of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Await(Leaf),
    /// The first of both; the other is dropped.
    Select(Leaf, Leaf),
    /// With a time limit.
    Limit(Leaf, u64),
    /// A timer that is polled, then set to another deadline, then awaited.
    Reset(u64, u64),
    /// Two ticks, with work in between.
    Ticks {
        period: u64,
        work: u64,
    },
    /// Time passes in the poll.
    Busy(u64),
    Spawn {
        script: usize,
        is_local: bool,
        is_joinable: bool,
        is_pooled: bool,
    },
    /// Two tasks on another executor, whose runner runs in this poll: to their end, or until it is
    /// idle, and is dropped.
    Nest {
        script: usize,
        leaves: bool,
    },
    BlockOn {
        script: usize,
    },
    Act(Act),
    Panic,
    End,
}

/// What can be done anywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Signal(usize),
    Take(usize),
    Wake(usize),
    Abort(usize),
    Detach(usize),
    Ask(usize),
    Spawn(usize),
}

/// What can be awaited.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leaf {
    /// By a waker that notes its wake, if it is recorded.
    Sleep {
        units: u64,
        is_recorded: bool,
    },
    Event(usize),
    Join(usize),
    Yield,
    Embassy(u64),
    Never,
}

/// The words of a seed, by the generator SplitMix64.
pub(crate) fn words(seed: u64) -> Vec<u32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 32) as u32
    };
    let length = 4 + next() % 40;
    (0..length).map(|_| next()).collect()
}

impl Program {
    /// The first word says how the program is run. Each other one is an operation, so that a
    /// program without a word is the same program without that operation.
    pub(crate) fn decode(words: &[u32]) -> Arc<Self> {
        let setup = words.first().copied().unwrap_or(0);
        let waits = setup >> 8 & 0xf;
        let mut program = Self {
            how: [Loop::Run, Loop::UntilIdle, Loop::Passes, Loop::Steps][setup as usize & 3],
            first: 1 + (setup >> 4 & 3) as usize,
            leaves_after: (waits < 6 && setup & 3 != 0).then_some(waits),
            scripts: [const { Vec::new() }; SCRIPTS],
            interrupts: Vec::new(),
        };
        for word in words.iter().skip(1) {
            let [kind, script, a, b] = word.to_le_bytes();
            match program.scripts.get_mut(script as usize % (SCRIPTS + 1)) {
                Some(script) => script.push(op(kind, a, b)),
                None => program.interrupts.push((u64::from(kind % 8), act(a, b))),
            }
        }
        Arc::new(program)
    }

    pub(crate) fn script(&self, number: usize) -> &[Op] {
        &self.scripts[number % SCRIPTS]
    }
}

fn op(kind: u8, a: u8, b: u8) -> Op {
    let (first, second) = (u64::from(a % 12), u64::from(b % 12));
    let script = usize::from(a);
    match kind % 32 {
        0..8 => Op::Await(leaf(a)),
        8..12 => Op::Spawn {
            script,
            is_local: b & 1 == 0,
            is_joinable: b & 6 != 0,
            is_pooled: b & 24 == 0,
        },
        12..15 => Op::Select(leaf(a), leaf(b)),
        15..17 => Op::Limit(leaf(a), second),
        17 => Op::Reset(first, second),
        18 => Op::Ticks {
            period: 1 + first / 2,
            work: second,
        },
        19 => Op::Busy(first),
        20 => Op::Nest {
            script,
            leaves: b & 1 == 1,
        },
        21 => Op::BlockOn { script },
        22 if b & 3 == 0 => Op::Panic,
        22 if b & 3 == 1 => Op::End,
        23..25 => Op::Await(Leaf::Join(usize::from(a))),
        _ => Op::Act(act(a, b)),
    }
}

fn act(a: u8, b: u8) -> Act {
    let number = usize::from(b);
    match a % 12 {
        0..4 => Act::Signal(number),
        4 => Act::Take(number),
        5..7 => Act::Wake(number),
        7..9 => Act::Abort(number),
        9 => Act::Detach(number),
        10 => Act::Ask(number),
        _ => Act::Spawn(number),
    }
}

fn leaf(byte: u8) -> Leaf {
    let number = byte >> 3;
    match byte % 8 {
        kind @ 0..3 => Leaf::Sleep {
            units: u64::from(number % 12),
            is_recorded: kind == 1,
        },
        3 => Leaf::Event(usize::from(number)),
        4 => Leaf::Join(usize::from(number)),
        5 => Leaf::Yield,
        6 => Leaf::Embassy(u64::from(number % 12)),
        _ => Leaf::Never,
    }
}
