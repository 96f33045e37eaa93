//! The heap allocator, whose cost is part of every boxed task. It masks interrupts during an
//! operation, so its worst operation delays them.

use core::hint::black_box;

use alloc::vec::Vec;

use dormir_bench_guest::{
    figures::{Subject, Tally},
    random::Random,
    stopwatch::Stopwatch,
};

pub(crate) const NAME: &str = "heap";

/// How many blocks there are.
const NUMBERS: [usize; 5] = [1, 64, 1000, 10_000, 100_000];

/// How many blocks are freed; as many are allocated.
const ROUNDS: usize = 5000;

/// The largest block in bytes. Sizes are spread evenly over the powers of two.
const LARGEST: u64 = 4096;

pub(crate) fn run(watch: &Stopwatch, max: usize) {
    for n in NUMBERS.into_iter().filter(|n| *n <= max) {
        count(watch, n);
    }
}

/// `heap_alloc` and `heap_free`: allocates a block of random size and frees another, while n others
/// exist. The freed block is chosen at random, which fragments the heap.
fn count(watch: &Stopwatch, n: usize) {
    let mut random = Random::seeded(0x9e37_79b9_7f4a_7c15);
    let mut size = || {
        let below = LARGEST >> random.below(9);
        1 + random.below(below) as usize
    };
    let mut choice = Random::seeded(0x2545_f491_4f6c_dd1d);
    let mut blocks = Vec::with_capacity(n);
    blocks.extend((0..n).map(|_| block(size())));
    let [mut alloc, mut free] = [const { Tally::new() }; 2];
    for _ in 0..ROUNDS {
        let size = size();
        let mut new = None;
        alloc.add(watch.count(|| new = Some(block(black_box(size)))));
        let chosen = choice.below(n as u64) as usize;
        let old = core::mem::replace(&mut blocks[chosen], new.expect("it was allocated"));
        free.add(watch.count(|| drop(old)));
    }
    let subject = Subject {
        runtime: NAME,
        n,
        capacity: None,
        cpus: None,
    };
    subject.report_tally("heap_alloc", &alloc);
    subject.report_tally("heap_free", &free);
}

fn block(size: usize) -> Vec<u8> {
    Vec::with_capacity(size)
}
